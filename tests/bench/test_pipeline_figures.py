"""What the pipeline's benchmark makes of the times that it took."""

from __future__ import annotations

import pytest

from tests.bench.pipeline_figures import (
    SLACK_BYTES,
    Cell,
    Round,
    arithmetic,
    geometric,
    largest,
    least,
    peak_over_weights,
    rounds_of,
)


def turn(*, instar: float, pisel: float = 100.0, warm: float = 10.0, rate: float = 1e9) -> Round:
    return Round({"instar": instar, "pisel": pisel}, warm, rate, occupancy=0.9, bottleneck="link")


def cell(*rounds: Round, nbytes: int = 50_000_000) -> Cell:
    return Cell("model", nbytes, "1500", rounds)


def test_the_limit_is_whatever_takes_longer() -> None:
    assert cell().limit_ms(turn(instar=1, warm=10)) == 50  # 50 MB at 1 GB/s
    assert cell().limit_ms(turn(instar=1, warm=70)) == 70


def test_an_answer_is_held_against_the_limit_of_its_own_round() -> None:
    rounds = turn(instar=60), turn(instar=120, warm=100), turn(instar=75)
    assert cell(*rounds).over_limit("instar")[1] == pytest.approx(1.2)


def test_below_is_the_share_of_the_time_that_is_gone() -> None:
    assert cell(turn(instar=25), turn(instar=25), turn(instar=50)).below("instar", "pisel")[1] == pytest.approx(0.75)


def test_the_best_baseline_has_the_least_median_not_the_luckiest_round() -> None:
    rounds = [
        Round({"a": a, "b": b}, 1.0, 1e9, 1.0, "link") for a, b in ((50.0, 100.0), (200.0, 100.0), (200.0, 100.0))
    ]
    assert cell(*rounds).best(["a", "b"]) == "b"


def test_40_mb_are_large() -> None:
    assert cell(nbytes=40_000_000).is_large
    assert not cell(nbytes=39_999_999).is_large


def test_means_are_taken_of_each_quartile() -> None:
    assert geometric([(1, 2, 4), (1, 2, 16)]) == pytest.approx((1, 2, 8))
    assert arithmetic([(0.1, 0.2, 0.3), (0.3, 0.4, 0.5)]) == pytest.approx((0.2, 0.3, 0.4))


def test_the_worst_cell_is_the_one_with_the_worst_median() -> None:
    cells = [(1.0, 1.1, 9.0), (1.0, 1.3, 1.4)]
    assert largest(cells) == (1.0, 1.3, 1.4)
    assert least(cells) == (1.0, 1.1, 9.0)


def test_what_every_program_may_take_is_no_part_of_the_peak() -> None:
    assert peak_over_weights(110_000_000 + SLACK_BYTES, 100_000_000) == pytest.approx(1.1)


def test_slow_cells_are_measured_less_often_but_once_at_least() -> None:
    assert rounds_of(1.0, budget_s=14, most=7) == 7
    assert rounds_of(4.0, budget_s=14, most=7) == 3
    assert rounds_of(70.0, budget_s=14, most=7) == 1
