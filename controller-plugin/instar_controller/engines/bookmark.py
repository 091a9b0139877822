"""How far a topic has been read and handed over, partition by partition, and that this survives us.

One rule: nothing counts as handed over that is not kept (`engines/reserving`). What the positions mean, and what a
crash makes of them, is decided in `policies/offsets`.
"""

from __future__ import annotations

from collections.abc import Iterable

from instar_controller.cluster_ports import Message, Subscription
from instar_controller.engines.reserving import Reserving
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Place, Progress


class Bookmark:
    """For one thread at a time."""

    def __init__(self, reserving: Reserving) -> None:
        self._reserving = reserving
        self._progress: dict[int, Progress] = {}

    def resume(self, reader: Subscription, *, runs_again: bool) -> None:
        """Begin where the group was. If nothing `runs_again`, what was open is not ours to see to."""
        for partition, progress in self._reserving.resume(reader).items():
            self._progress[partition] = progress if runs_again else offsets.fresh(progress.handed)

    @property
    def handed(self) -> int:
        """The offset before which everything was handed over; of a topic with one partition."""
        return max((progress.handed for progress in self._progress.values()), default=0)

    @property
    def is_full(self) -> bool:
        """Whether no further message may be open."""
        return any(progress.is_full for progress in self._progress.values())

    def receive(self, message: Message) -> Place | None:
        """A message was read: it is open from here on. None if it was handed over for good long ago."""
        known = self._progress.get(message.partition) or offsets.fresh(message.offset)
        progress, is_wanted = offsets.received(known, message.offset)
        self._progress[message.partition] = progress
        if not is_wanted:
            return None
        is_doubtful = message.offset < progress.doubted
        return Place(message.partition, message.offset, progress.era, is_doubtful=is_doubtful)

    def close(self, place: Place) -> None:
        """This message is not to be run again."""
        self._progress = _closed(self._progress, place)

    def keep(self, reader: Subscription, places: Iterable[Place] = ()) -> bool:
        """Have it survive us how far we are, and close these places with that; whether there was anything to keep.

        Raises `BusError`; then these places are as open as before.
        """
        progress = self._progress
        for place in places:
            progress = _closed(progress, place)
        is_news = self._reserving.keep(reader, progress)
        self._progress = progress
        return is_news

    @property
    def is_due(self) -> bool:
        """Whether it is time to `settle`."""
        return self._reserving.is_due

    def settle(self, reader: Subscription) -> None:
        """Have the bus itself know how far we are. Raises `BusError`."""
        self._reserving.settle(reader, self._progress)


def _closed(progress: dict[int, Progress], place: Place) -> dict[int, Progress]:
    return {**progress, place.partition: offsets.closed(progress[place.partition], place)}
