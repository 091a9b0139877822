"""How far a partition has been handed over, and what of it is to be run again after a crash: as functions.

One rule: whatever is kept says of every message on its own whether it was handed over for good. So nothing that was
is handed over again, and what is *open* (it may be run again, or was not started) is, and nothing else.

The offset is the lowest open one, or the next that was never handed over; the note beside it names all of them if
they are more than that. Such a position is *exact*. One that is committed may be a *reservation* instead: from there
on messages may have been handed over up to an end that it names, and exact positions were kept elsewhere (the slate),
by the life of the node that the reservation names, with growing serial numbers. If those are lost, everything that
the reservation leaves open is *in doubt*: it may have been begun. Nothing here reads or commits anything.

    resumed(offset, note)         what an exact position says
    taken_up(position, …)         what a committed position says, and what was kept elsewhere
    received(progress, offset)    -> (progress, wanted)   a message was read
    closed(progress, message)     it is not to be run again
    committed(progress)           -> (offset, note)       what to commit
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from instar_controller.whisk.values import Json, JsonObject, compact, parse

# The note has to fit into what a broker keeps beside an offset, 4,096 bytes: at most nine characters an offset.
MOST_OPEN = 400


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition. `era` counts how often its offsets have begun anew, which makes an offset unique."""

    next: int  # the offset that is read next, unless messages are missing
    handed: int  # every message before this one was handed over
    open: frozenset[int] = frozenset()  # of these, the ones that are to be run again
    era: int = 0
    doubted: int = 0  # every message before this one that is to be handed over may have been begun already

    @property
    def is_full(self) -> bool:
        """Whether no further message may be open."""
        return len(self.open) >= MOST_OPEN


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message was read: enough to say later that it is done with."""

    partition: int
    offset: int
    era: int
    is_doubtful: bool = False  # it may have been begun before, and nobody knows


@dataclass(frozen=True, slots=True)
class Reservation:
    """Messages before `end` may have been handed over by this life of the node; what it has kept with a higher serial
    number says which."""

    end: int
    life: str
    serial: int


@dataclass(frozen=True, slots=True)
class Kept:
    """An exact position, and its serial number among all that one life has kept or committed."""

    offset: int
    note: str
    serial: int


def fresh(offset: int) -> Progress:
    """Nothing of this partition was ever handed over; its first message that was read has this offset."""
    return Progress(next=offset, handed=offset)


def resumed(offset: int, note: str) -> Progress:
    """What an exact position says. A note that is not ours says nothing: all before the offset was handed over."""
    told = _told(note)
    handed, deltas, doubted = told.get("handed", offset), told.get("open", []), told.get("doubted", 0)
    if ("handed" in told) is not ("open" in told) or not isinstance(deltas, list):
        return fresh(offset)
    if not all(map(_is_whole, (handed, doubted, *deltas))):
        return fresh(offset)
    end = max(int(str(handed)), offset)
    opened = frozenset(offset + int(str(delta)) for delta in deltas if offset + int(str(delta)) < end)
    return Progress(next=offset, handed=end, open=opened, doubted=int(str(doubted)))


def reservation(note: str) -> Reservation | None:
    """What a committed note reserves; None if the position beside it is exact."""
    told = _told(note)
    end, life, serial = told.get("reserved"), told.get("life"), told.get("serial")
    if not (_is_whole(end) and _is_whole(serial) and isinstance(life, str)):
        return None
    return Reservation(int(str(end)), life, int(str(serial)))


def taken_up(offset: int, note: str, kept: Kept | None, *, end: int) -> Progress:
    """What a committed position says, beside what the life that it names has `kept` last; None if that is lost, and
    then what is reserved is in doubt. `end` is where the partition ended when the next life began: what came later
    was begun by nobody.
    """
    progress = resumed(offset, note)
    reserved = reservation(note)
    if reserved is None:
        return progress
    if kept is None:
        return replace(progress, doubted=max(progress.doubted, min(reserved.end, end)))
    if kept.serial < reserved.serial:
        return progress
    return replace(resumed(kept.offset, kept.note), next=offset)  # reading begins at what is committed


def received(progress: Progress, offset: int) -> tuple[Progress, bool]:
    """A message was read; whether it is to be handed over. If so it is open until it is `closed`.

    An offset lower than expected means that the topic was made anew. Open messages that should have come before this
    one are no longer kept by the bus, and are given up.
    """
    if offset < progress.next:
        progress = replace(fresh(offset), era=progress.era + 1)
    opened = progress.open
    if opened and offset > progress.next:
        opened = frozenset(at for at in opened if not progress.next <= at < offset)
    if offset < progress.handed:
        return replace(progress, next=offset + 1, open=opened), offset in opened
    return replace(progress, next=offset + 1, handed=offset + 1, open=opened | {offset}), True


def closed(progress: Progress, place: Place) -> Progress:
    """This message is not to be run again. Changes nothing if that was known, or the topic was made anew since."""
    if place.era != progress.era or place.offset not in progress.open:
        return progress
    return replace(progress, open=progress.open - {place.offset})


def committed(progress: Progress, reserved: Reservation | None = None) -> tuple[int, str]:
    """The offset to commit, and the note beside it; none where the offset says it all."""
    lowest = min(progress.open, default=progress.handed)
    note: dict[str, Json] = {}
    if len(progress.open) < progress.handed - lowest:  # or all are from there on: as if they were never handed over
        note = {"handed": progress.handed, "open": sorted(at - lowest for at in progress.open)}
    if progress.doubted > lowest:
        note["doubted"] = progress.doubted
    if reserved is not None:
        note |= {"reserved": reserved.end, "life": reserved.life, "serial": reserved.serial}
    return lowest, compact(note) if note else ""


def _told(note: str) -> JsonObject:
    try:
        told = parse(note) if note else None
    except ValueError:
        return {}
    return told if isinstance(told, Mapping) else {}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
