"""How far a partition has been handed over, and what of it is to be run again after a crash: as functions.

One rule: whatever is committed says of every message on its own whether it was handed over for good. So nothing that
was is handed over again, and what is *open* (it may be run again, or was not started) is, and nothing else.

The committed offset is the lowest open one, or the next that was never handed over; the note beside it names all of
them if they are more than that. Nothing here reads or commits anything.

    resumed(offset, note)         what a committed position says
    received(progress, offset)    -> (progress, wanted)   a message was read
    closed(progress, message)     it is not to be run again
    committed(progress)           -> (offset, note)       what to commit
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from instar_controller.whisk.values import compact, parse

# The note has to fit into what a broker keeps beside an offset, 4,096 bytes: at most nine characters an offset.
MOST_OPEN = 400


@dataclass(frozen=True, slots=True)
class Progress:
    """One partition. `era` counts how often its offsets have begun anew, which makes an offset unique."""

    next: int  # the offset that is read next, unless messages are missing
    handed: int  # every message before this one was handed over
    open: frozenset[int] = frozenset()  # of these, the ones that are to be run again
    era: int = 0

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


def fresh(offset: int) -> Progress:
    """Nothing of this partition was ever handed over; its first message that was read has this offset."""
    return Progress(next=offset, handed=offset)


def resumed(offset: int, note: str) -> Progress:
    """What a committed position says. A note that is not ours says nothing: all before the offset was handed over."""
    handed, opened = offset, frozenset[int]()
    try:
        told = parse(note) if note else None
    except ValueError:
        told = None
    if isinstance(told, Mapping):
        end, deltas = told.get("handed"), told.get("open")
        if _is_whole(end) and isinstance(deltas, list) and all(_is_whole(delta) for delta in deltas):
            handed = max(int(str(end)), offset)
            opened = frozenset(offset + int(str(delta)) for delta in deltas if offset + int(str(delta)) < handed)
    return Progress(next=offset, handed=handed, open=opened)


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


def committed(progress: Progress) -> tuple[int, str]:
    """The offset to commit, and the note beside it; none where the offset says it all."""
    if not progress.open:
        return progress.handed, ""
    lowest = min(progress.open)
    if len(progress.open) == progress.handed - lowest:
        return lowest, ""  # all from there on: as if they had never been handed over
    deltas = sorted(at - lowest for at in progress.open)
    return lowest, compact({"handed": progress.handed, "open": deltas})


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
