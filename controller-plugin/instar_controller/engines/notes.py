"""What a dispatcher keeps beside its position: to whom it may have sent something for a message, and since where.

One rule: a life of a node is in the note before anything is sent to it, and until all that was sent to it is settled;
a controller is in it before we answer in a node's stead. Every envelope and every such answer for a message at or
beyond the position lies at or after the offset that is noted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from instar_controller.errors import MalformedError
from instar_controller.policies.nodes import Member
from instar_controller.whisk import fields
from instar_controller.whisk.values import Json

MOST_BYTES = 4000  # a broker keeps 4096 (offset.metadata.max.bytes)

_WHAT = "a dispatcher's note"


@dataclass(frozen=True, slots=True)
class Note:
    """Offsets: in the topics of nodes, by their lives; in those that controllers read answers from; and of the first
    message of the invoker's topic that was not read, by partition."""

    nodes: Mapping[Member, int] = field(default_factory=dict)
    acks: Mapping[str, int] = field(default_factory=dict)
    read: Mapping[int, int] = field(default_factory=dict)

    def encode(self) -> str:
        nodes: dict[str, dict[str, Json]] = {}
        for member, offset in sorted(self.nodes.items()):
            nodes.setdefault(member.name, {})[member.incarnation] = offset
        read = {str(partition): offset for partition, offset in sorted(self.read.items())}
        return fields.encode({"nodes": nodes, "acks": dict(sorted(self.acks.items())), "read": read}).decode()

    @property
    def fits(self) -> bool:
        """Whether a broker keeps it."""
        return len(self.encode().encode()) <= MOST_BYTES


def parse(note: str) -> Note:
    """What a note says; nothing if there is none. Raises `MalformedError`."""
    if not note:
        return Note()
    found = fields.decode(note.encode(), _WHAT)
    nodes, acks, read = found.fields("nodes"), found.fields("acks"), found.fields("read")
    since = {
        Member(name, incarnation): nodes.fields(name).number(incarnation)
        for name in nodes.all
        for incarnation in nodes.object(name)
    }
    return Note(
        since,
        {controller: acks.number(controller) for controller in acks.all},
        {_partition(key): read.number(key) for key in read.all},
    )


def _partition(key: str) -> int:
    if not (key.isascii() and key.isdigit()):
        raise MalformedError(f"{_WHAT}: a partition is a number, not {fields.shown(key)}")
    return int(key)
