"""Places for batches of records that take some records amiss, as a database does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from instar_controller.clients.memory_couch import MemoryRecords
from instar_controller.policies.keeping import (
    Answer,
    Answered,
    Fate,
    Kept,
    Record,
    Refused,
    Rejected,
    Stumbled,
    Unsettled,
)


@dataclass
class DelicateShelf:
    """A database in memory that fails with certain records, by their ids."""

    records: MemoryRecords = field(default_factory=MemoryRecords)
    refuses: set[str] = field(default_factory=set)  # in so many words
    unsettled: set[str] = field(default_factory=set)  # fails with the record, and takes the others
    rejects: set[str] = field(default_factory=set)  # the whole batch: 400 or 413
    stumbles: set[str] = field(default_factory=set)  # with the whole batch: 500
    is_out_of_order: bool = False  # everything comes to 500
    batches: list[list[str]] = field(default_factory=list)

    def write(self, records: Sequence[Record]) -> Answer:
        ids = [record.id for record in records]
        self.batches.append(ids)
        if self.rejects.intersection(ids):
            return Rejected("413")
        if self.is_out_of_order or self.stumbles.intersection(ids):
            return Stumbled("500")
        good = [record for record in records if record.id not in self.refuses | self.unsettled]
        match self.records.write(good):
            case Answered():
                return Answered([self._fate(id) for id in ids])
            case other:
                return other

    def _fate(self, id: str) -> Fate:
        if id in self.refuses:
            return Refused("forbidden: the test wants it")
        return Unsettled("internal_server_error") if id in self.unsettled else Kept()
