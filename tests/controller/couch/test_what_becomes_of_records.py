"""The decisions about records, as pure functions: who is written next, and what each answer means for whom."""

from __future__ import annotations

import pytest

from instar_controller.policies import keeping
from instar_controller.policies.keeping import (
    Answered,
    Kept,
    Pace,
    Patience,
    Record,
    Refused,
    Rejected,
    Stumbled,
    Suspect,
    Unanswered,
    Unsettled,
    Verdict,
)

PATIENCE = Patience(batch_records=100, batch_bytes=1000, first_wait_s=0.1, longest_wait_s=5, most_stumbles=3)
A, B, C, D = (Record(name, b"{}") for name in "abcd")
BATCH = [A, B, C, D]


def test_what_is_kept_is_done_with_and_batches_grow() -> None:
    verdict = keeping.judge(BATCH, Answered([Kept()] * 4), Pace(8, 3), PATIENCE, kept=0)
    assert verdict == Verdict(Pace(16, 0), kept=4, set_aside=[], again=(), suspects=[])
    assert keeping.judge(BATCH, Answered([Kept()] * 4), Pace(80), PATIENCE, kept=0).pace == Pace(100)


def test_where_the_database_does_not_answer_everything_is_written_again_in_smaller_batches() -> None:
    assert keeping.judge(BATCH, Unanswered("down"), Pace(4, 1), PATIENCE, kept=9) == Verdict(Pace(2, 2), again=BATCH)
    assert keeping.judge([A], Unanswered("down"), Pace(1, 2), PATIENCE, kept=9) == Verdict(Pace(1, 3), again=[A])


@pytest.mark.parametrize("answer", [Rejected("400"), Stumbled("500")])
def test_a_batch_that_is_refused_as_a_whole_is_divided_without_waiting(answer: Rejected | Stumbled) -> None:
    assert keeping.judge(BATCH, answer, Pace(100), PATIENCE, kept=0) == Verdict(Pace(2), again=BATCH)
    assert keeping.judge([A], answer, Pace(1), PATIENCE, kept=5) == Verdict(
        Pace(1, 1), suspects=[Suspect(A, 1, 5, answer.reason)]
    )


def test_what_the_database_refuses_by_name_is_set_aside_at_once() -> None:
    fates = [Kept(), Refused("forbidden"), Unsettled("timeout"), Kept()]
    verdict = keeping.judge(BATCH, Answered(fates), Pace(4), PATIENCE, kept=7)
    assert verdict.kept == 2
    assert verdict.set_aside == [(B, "forbidden")]
    assert verdict.suspects == [Suspect(C, 1, 9, "timeout")]
    assert verdict.again == ()
    assert verdict.pace == Pace(8, 0)


def test_where_nothing_is_settled_there_is_a_wait() -> None:
    verdict = keeping.judge([A, B], Answered([Unsettled("x"), Unsettled("y")]), Pace(2), PATIENCE, kept=0)
    assert verdict.pace.failures == 1
    assert [suspect.record for suspect in verdict.suspects] == [A, B]


def test_a_suspect_is_set_aside_only_if_others_were_kept_between_its_failures() -> None:
    suspect = Suspect(A, 1, 5, "500")
    for _ in range(50):  # the database is out of order altogether: nobody is to blame
        (suspect,) = keeping.judge_suspect(suspect, Stumbled("500"), Pace(1), PATIENCE, kept=5).suspects
        assert suspect.stumbles == 1
    (suspect,) = keeping.judge_suspect(suspect, Stumbled("500"), Pace(1), PATIENCE, kept=6).suspects
    assert suspect == Suspect(A, 2, 6, "500")
    verdict = keeping.judge_suspect(suspect, Stumbled("500 again"), Pace(1, 4), PATIENCE, kept=7)
    assert verdict == Verdict(Pace(1, 0), set_aside=[(A, "500 again")])


def test_a_suspect_that_is_itself_rejected_is_set_aside_sooner() -> None:
    suspect = Suspect(A, 1, 5, "413")
    assert keeping.judge_suspect(suspect, Rejected("413"), Pace(1), PATIENCE, kept=5).suspects == [suspect]
    assert keeping.judge_suspect(suspect, Rejected("413"), Pace(1), PATIENCE, kept=6).set_aside == [(A, "413")]


def test_a_suspect_may_prove_innocent() -> None:
    suspect = Suspect(A, 2, 5, "500")
    assert keeping.judge_suspect(suspect, Answered([Kept()]), Pace(1, 3), PATIENCE, kept=6) == Verdict(
        Pace(1), kept=1
    )
    assert keeping.judge_suspect(suspect, Unanswered("down"), Pace(1, 3), PATIENCE, kept=6).suspects == [suspect]


def test_a_batch_is_bounded_by_number_and_by_bytes_but_never_empty() -> None:
    line = [Record(f"{n}", b"x" * 300) for n in range(10)]
    assert keeping.next_batch(line, Pace(2), PATIENCE) == line[:2]
    assert keeping.next_batch(line, Pace(100), PATIENCE) == line[:3]
    assert keeping.next_batch([Record("big", b"x" * 5000), *line], Pace(100), PATIENCE) == [
        Record("big", b"x" * 5000)
    ]
    assert keeping.next_batch(line[:2], Pace(100), PATIENCE) == line[:2]


def test_waits_double_up_to_a_bound_and_differ() -> None:
    waits = [keeping.wait_s(Pace(1, failures), PATIENCE, 1.0) for failures in range(9)]
    assert waits == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5])
    assert keeping.wait_s(Pace(1, 10_000), PATIENCE, 0.0) == 2.5
