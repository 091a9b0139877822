"""How the loading benchmark turns times into ratios."""

from __future__ import annotations

import pytest

from tests.bench.bench_load import Answer, below, over_models, ratios


def turn(*, warm: float, instar: float, instar_load: float, b0: float = 100.0, b1: float = 50.0) -> dict[str, Answer]:
    def answer(kind: str, first_ms: float, load_ms: float, warm_ms: float) -> Answer:
        return Answer(kind, first_ms, load_ms, warm_ms, structure_ms=0.1, equal=True)

    return {
        "warm": answer("warm", warm, 0.0, warm),
        "b0": answer("b0", b0, b0 - warm, 0.0),
        "b1": answer("b1", b1, b1 - warm, 0.0),
        "instar": answer("instar", instar, instar_load, warm * 1.1),
    }


def test_the_load_part_is_what_an_answer_takes_beyond_a_warm_pass() -> None:
    found = ratios([turn(warm=10, instar=14, instar_load=1)])
    assert found.part_over_b0 == [pytest.approx(4 / 90)]
    assert found.part_over_b1 == [pytest.approx(4 / 40)]
    assert found.first_over_warm == [pytest.approx(1.4)]
    assert found.warm_over_module == [pytest.approx(1.1)]


def test_a_slow_warm_pass_never_makes_loading_look_free() -> None:
    found = ratios([turn(warm=10, instar=9, instar_load=2)])
    assert found.part_over_b0 == [pytest.approx(2 / 90)]


def test_each_model_counts_alike_however_slow_it_is() -> None:
    assert over_models([[0.5, 0.5, 0.5], [2.0, 2.0, 2.0]]) == pytest.approx((1, 1, 1))


def test_below_turns_a_ratio_and_its_quartiles_round() -> None:
    assert below((0.01, 0.02, 0.05)) == pytest.approx((0.95, 0.98, 0.99))
