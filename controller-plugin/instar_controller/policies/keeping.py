"""What becomes of records that were to be written, by what the database said: the decisions of `engines/keeper`.

One rule: a record is done with only if it is known to be there, or if it, and not the database, is known to be at
fault. So a record that fails alone is a suspect, and is set aside only if it fails again and again while others are
kept in between: where nothing is kept it is the database that is out of order, and then everything waits. After a
failure batches get smaller, down to one record, and after a success larger again: that is how a poisonous record is
told from those that it was sent with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Record:
    """A document that is to be stored: its id, and all of it as compact JSON."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """It is stored now, or had been already."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The database will never take this record, and took others with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The database failed with this record. Nobody knows whose fault that is."""

    reason: str


Fate: TypeAlias = Kept | Refused | Unsettled


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of each record of a batch, in their order."""

    fates: Sequence[Fate]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It cannot be reached, or can take nothing now: any other batch would have fared the same."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will not take this very batch, for what is in it or for its size."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stumbled:
    """It failed with this batch, for reasons of its own or because of what is in it."""

    reason: str


Answer: TypeAlias = Answered | Unanswered | Rejected | Stumbled


@dataclass(frozen=True, slots=True)
class Patience:
    """How records are written."""

    batch_records: int = 500  # in one request at most, as the stock invoker
    batch_bytes: int = 4 << 20  # a larger record goes alone
    interval_s: float = 0.05  # between the beginnings of two batches: what comes meanwhile goes together
    first_wait_s: float = 0.1  # after a failure; doubles with each further one
    longest_wait_s: float = 5.0
    most_stumbles: int = 8  # of a record alone, with others kept in between, before it is set aside
    most_rejections: int = 2  # the same, where the database says that it is the record


@dataclass(frozen=True, slots=True)
class Pace:
    """How many records the next batch may have, and how many failures there have been in a row."""

    size: int
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record that failed alone, and how often it has since, each time after others had been kept."""

    record: Record
    stumbles: int
    kept_before: int  # how many records had been kept, ever, when it last did
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a batch: `again` is to be written before all else, suspects each alone."""

    pace: Pace
    kept: int = 0
    set_aside: Sequence[tuple[Record, str]] = ()
    again: Sequence[Record] = ()
    suspects: Sequence[Suspect] = ()


def next_batch(line: Sequence[Record], pace: Pace, patience: Patience) -> Sequence[Record]:
    """Those in line that go together next: as many as the pace allows, from the first on."""
    filled = 0
    for taken, record in enumerate(line[: max(1, pace.size)]):
        filled += len(record.body)
        if taken and filled > patience.batch_bytes:
            return line[:taken]
    return line[: max(1, pace.size)]


def judge(batch: Sequence[Record], answer: Answer, pace: Pace, patience: Patience, *, kept: int) -> Verdict:
    """What becomes of a batch that was answered so. `kept` is how many records have been kept before it, ever."""
    match answer:
        case Answered(fates):
            return _judge_each(batch, fates, pace, patience, kept)
        case Unanswered():
            return Verdict(_slower(pace, len(batch)), again=batch)
        case Rejected(reason) | Stumbled(reason):
            if len(batch) > 1:
                return Verdict(replace(pace, size=len(batch) // 2), again=batch)
            return Verdict(_slower(pace, 1), suspects=[Suspect(batch[0], 1, kept, reason)])


def judge_suspect(suspect: Suspect, answer: Answer, pace: Pace, patience: Patience, *, kept: int) -> Verdict:
    """What becomes of a suspect that was written alone, and answered so."""
    match answer:
        case Answered([Kept()]):
            return Verdict(replace(pace, failures=0), kept=1)
        case Answered([Refused(reason)]):
            return Verdict(replace(pace, failures=0), set_aside=[(suspect.record, reason)])
        case Rejected(reason):
            again, most = _stumbled(suspect, reason, kept), patience.most_rejections
        case Stumbled(reason) | Answered([Unsettled(reason)]):
            again, most = _stumbled(suspect, reason, kept), patience.most_stumbles
        case _:
            return Verdict(_slower(pace, pace.size), suspects=[suspect])
    if again.stumbles >= most:
        return Verdict(replace(pace, failures=0), set_aside=[(suspect.record, again.reason)])
    return Verdict(replace(pace, failures=pace.failures + 1), suspects=[again])


def wait_s(pace: Pace, patience: Patience, jitter: float) -> float:
    """How long to wait before the next batch; `jitter` is drawn from 0 to 1, so that many do not come back as one."""
    if pace.failures == 0:
        return 0.0
    longest = min(patience.longest_wait_s, patience.first_wait_s * 2.0 ** min(pace.failures - 1, 30))
    return longest * (0.5 + 0.5 * jitter)


def _judge_each(batch: Sequence[Record], fates: Sequence[Fate], pace: Pace, patience: Patience, kept: int) -> Verdict:
    now_kept = sum(isinstance(fate, Kept) for fate in fates)
    set_aside: list[tuple[Record, str]] = []
    suspects: list[Suspect] = []
    for record, fate in zip(batch, fates, strict=True):
        match fate:
            case Refused(reason):
                set_aside.append((record, reason))
            case Unsettled(reason):
                suspects.append(Suspect(record, 1, kept + now_kept, reason))
    is_progress = now_kept > 0 or not suspects
    next_pace = Pace(min(patience.batch_records, 2 * pace.size)) if is_progress else _slower(pace, len(batch))
    return Verdict(next_pace, kept=now_kept, set_aside=set_aside, suspects=suspects)


def _stumbled(suspect: Suspect, reason: str, kept: int) -> Suspect:
    """It failed once more: that counts if others were kept in between."""
    if kept <= suspect.kept_before:
        return replace(suspect, reason=reason)
    return Suspect(suspect.record, suspect.stumbles + 1, kept, reason)


def _slower(pace: Pace, size: int) -> Pace:
    return Pace(max(1, size // 2), pace.failures + 1)
