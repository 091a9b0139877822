"""What a node tells dispatchers, as bytes: its heartbeats, and what it has finished.

One rule: the bytes come from elsewhere until they are parsed; what makes no sense is a `MalformedError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.engines.envelopes import Marker
from instar_controller.errors import MalformedError
from instar_controller.policies.nodes import Heartbeat, Member, Stage, Unfinished
from instar_controller.whisk import activation, fields
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.values import Json

_HEARTBEAT = "a heartbeat"
_REPORT = "a node's report"


@dataclass(frozen=True, slots=True)
class Report:
    """Activations that this life of a node has completed."""

    member: Member
    finished: tuple[ActivationId, ...]

    def encode(self) -> bytes:
        return fields.encode({**_member_json(self.member), "finished": list(self.finished)})


def parse_report(message: bytes) -> Report:
    """Raises `MalformedError`."""
    found = fields.decode(message, _REPORT)
    return Report(_member(found), tuple(activation.parse_id(id) for id in found.texts("finished")))


def encode_heartbeat(beat: Heartbeat) -> bytes:
    """A heartbeat as a message."""
    kinds: dict[str, Json] = {} if beat.kinds is None else {"kinds": sorted(beat.kinds)}
    return fields.encode(
        {
            **_member_json(beat.member),
            "memory": beat.memory_mb,
            **kinds,
            "stage": beat.stage.value,
            "warm": dict(beat.warm),
            "busy": {str(number): mb for number, mb in beat.busy_mb.items()},
            "began": beat.began,
            "position": beat.position,
            "unfinished": {
                str(number): [[it.offset, it.id, it.memory_mb] for it in found]
                for number, found in beat.unfinished.items()
            },
        }
    )


def parse_news(message: bytes) -> Heartbeat | Marker:
    """A node's heartbeat, or a marker of a dispatcher's. Raises `MalformedError`."""
    found = fields.decode(message, _HEARTBEAT)
    if "marker" in found.all:
        return Marker(found.text("marker"))
    memory_mb = found.number("memory")
    if memory_mb <= 0:
        raise MalformedError(f"{_HEARTBEAT}: 'memory' must be positive, not {memory_mb}")
    unfinished = found.fields("unfinished")
    return Heartbeat(
        member=_member(found),
        memory_mb=memory_mb,
        kinds=frozenset(found.texts("kinds")) if found.has("kinds") else None,
        warm=_numbers(found.fields("warm")),
        busy_mb={_dispatcher(key): mb for key, mb in _numbers(found.fields("busy")).items()},
        began=found.number("began"),
        position=found.number("position"),
        unfinished={
            _dispatcher(key): tuple(_unfinished(item) for item in unfinished.array(key)) for key in unfinished.all
        },
        stage=_stage(found.text("stage")),
    )


def _member_json(member: Member) -> dict[str, Json]:
    return {"name": member.name, "incarnation": member.incarnation}


def _member(found: Fields) -> Member:
    return Member(found.text("name"), found.text("incarnation"))


def _numbers(found: Fields) -> Mapping[str, int]:
    return {key: found.number(key) for key in found.all}


def _dispatcher(key: str) -> int:
    if not (key.isascii() and key.isdigit()):
        raise MalformedError(f"{_HEARTBEAT}: a dispatcher is named by its number, not {fields.shown(key)}")
    return int(key)


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise MalformedError(f"{_HEARTBEAT}: there is no stage {fields.shown(text)}") from None


def _unfinished(item: Json) -> Unfinished:
    match item:
        case [int(offset), str(id), int(memory_mb)]:
            return Unfinished(activation.parse_id(id), offset, memory_mb)
        case _:
            raise MalformedError(
                f"{_HEARTBEAT}: what is unfinished is an offset, an id and MB, not {fields.shown(item)}"
            )
