"""How far a topic has been read and handed over, partition by partition, and what the bus knows of it.

One rule: nothing counts as handed over that the bus does not know of. What the positions mean, and what a crash makes
of them, is decided in `policies/offsets`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from instar_controller.cluster_ports import Message, Position, Subscription
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Place, Progress


class Bookmark:
    """For one thread at a time."""

    def __init__(self) -> None:
        self._progress: dict[int, Progress] = {}
        self._committed: dict[int, tuple[int, str]] = {}

    def resume(self, positions: Mapping[int, Position], *, runs_again: bool) -> None:
        """Begin where the group was. If nothing `runs_again`, what was open is not ours to see to."""
        for partition, position in positions.items():
            progress = offsets.resumed(position.offset, position.note)
            self._progress[partition] = progress if runs_again else offsets.fresh(progress.handed)
            self._committed[partition] = (position.offset, position.note)

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
        return Place(message.partition, message.offset, progress.era) if is_wanted else None

    def close(self, place: Place) -> None:
        """This message is not to be run again."""
        self._progress = _closed(self._progress, place)

    def commit(self, reader: Subscription, places: Iterable[Place] = ()) -> bool:
        """Have the bus know how far we are, and close these places with that; whether there was anything to tell.

        Raises `BusError`; then nothing has changed.
        """
        progress = self._progress
        for place in places:
            progress = _closed(progress, place)
        wanted = {partition: offsets.committed(at) for partition, at in progress.items()}
        news = {partition: at for partition, at in wanted.items() if self._committed.get(partition) != at}
        if news:
            reader.commit({partition: Position(*at) for partition, at in news.items()})
        self._committed.update(news)
        self._progress = progress
        return bool(news)


def _closed(progress: dict[int, Progress], place: Place) -> dict[int, Progress]:
    return {**progress, place.partition: offsets.closed(progress[place.partition], place)}
