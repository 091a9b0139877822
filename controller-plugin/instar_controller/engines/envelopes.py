"""What a dispatcher sends to a node: an activation message in an envelope, or a marker.

One rule: the activation message goes in as it came. The envelope says whose invoker it was sent to, which the answer
must name, and for which life of the node it is meant: another one throws it away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from instar_controller.cluster_ports import TopicSettings
from instar_controller.errors import MalformedError
from instar_controller.whisk import activation_message, fields, instances
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance

OVERHEAD_BYTES = 4096  # of an envelope around its message, at most

_WHAT = "an envelope"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One activation on its way to a node.

    `attempt` counts the nodes that it was sent to, this one included. In the topic that its controller reads answers
    from, none to this activation lies before `acks_from`. `place` is where its message lies in the invoker's topic,
    partition and offset, as long as that was not committed.
    """

    instance: InvokerInstance
    incarnation: str
    attempt: int
    acks_from: int
    memory_mb: int
    message: ActivationMessage
    place: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """Means nothing to a node. Whoever finds it again has read all that was sent before it."""

    token: str


Parcel: TypeAlias = Envelope | Marker


def topic(invoker: TopicSettings) -> TopicSettings:
    """How a node's topic is made, where an invoker's is made like this: what fits there fits here in its envelope."""
    return replace(invoker, partitions=1, max_message_bytes=invoker.max_message_bytes + OVERHEAD_BYTES)


def seal(
    message: bytes,
    *,
    instance: InvokerInstance,
    incarnation: str,
    attempt: int = 1,
    acks_from: int = 0,
    memory_mb: int = 0,
    place: tuple[int, int] | None = None,
) -> bytes:
    """An envelope around an activation message, which is JSON."""
    head = fields.encode(
        {
            "instance": instance.to_json(),
            "incarnation": incarnation,
            "attempt": attempt,
            "acksFrom": acks_from,
            "memory": memory_mb,
            **({} if place is None else {"place": list(place)}),
        }
    )
    return b"".join((head[:-1], b',"message":', message, b"}"))


def mark(token: str) -> bytes:
    """A marker."""
    return fields.encode({"marker": token})


def parse(parcel: bytes) -> Parcel:
    """What a dispatcher has sent. Raises `MalformedError`."""
    found = fields.decode(parcel, _WHAT)
    if "marker" in found.all:
        return Marker(found.text("marker"))
    return Envelope(
        instance=instances.parse_invoker(found.value("instance"), f"{_WHAT}: 'instance'"),
        incarnation=found.text("incarnation"),
        attempt=found.optional_number("attempt") or 1,
        acks_from=found.optional_number("acksFrom") or 0,
        memory_mb=found.optional_number("memory") or 0,
        message=activation_message.from_json(found.value("message")),
        place=_place(found) if found.has("place") else None,
    )


def _place(found: fields.Fields) -> tuple[int, int]:
    match found.array("place"):
        case [int(partition), int(offset)]:
            return partition, offset
        case other:
            raise MalformedError(f"{_WHAT}: 'place' must be a partition and an offset, not {fields.shown(other)}")
