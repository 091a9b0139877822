"""What the benchmark of transformations makes of the times that it took."""

from __future__ import annotations

import pytest

from tests.bench import transform_figures
from tests.bench.transform_figures import ACROSS, FAMILY, LOAD, SAME, TRANSFORM, Pair, Planned, Taken


def taken(bound: float, *, structure: float = 0.0, first: float = 0.0, warm: float | None = None) -> Taken:
    return Taken(structure, bound, first, warm, is_equal=True)


def pair(*rounds: dict[str, Taken], decided: str = TRANSFORM, estimate: float = 1.0, kinship: str = SAME) -> Pair:
    return Pair("a", "b", kinship, decided, {TRANSFORM: estimate, LOAD: 2 * estimate}, rounds)


def ways(transform: float, load: float, **others: float) -> dict[str, Taken]:
    return {name: taken(ms) for name, ms in {TRANSFORM: transform, LOAD: load, **others}.items()}


def test_reading_the_structure_is_no_part_of_a_bind_but_of_the_load_part() -> None:
    found = pair({TRANSFORM: taken(1.0, structure=0.75), "b0": taken(100.0)})
    assert found.bind_ms()[1] == pytest.approx(0.25)
    assert found.load_over("b0")[1] == pytest.approx(0.01)


def test_the_first_answer_counts_from_the_beginning() -> None:
    found = pair(
        {TRANSFORM: taken(1, first=11, warm=10)},
        {TRANSFORM: taken(1, first=30, warm=20)},
        {TRANSFORM: taken(1, first=13, warm=10)},
    )
    assert found.over_warm()[1] == pytest.approx(1.3)


def test_a_pair_without_warm_passes_has_no_ratio_to_them() -> None:
    with pytest.raises(ValueError, match="a → b"):
        pair({TRANSFORM: taken(1)}).over_warm()


def test_what_counts_is_the_way_that_was_decided_for() -> None:
    rounds = ways(3, 2, scratch=1)
    assert pair(rounds).load_over(LOAD)[1] == pytest.approx(1.5)
    assert pair(rounds, decided=LOAD).load_over(LOAD)[1] == 1
    assert pair(rounds, decided=LOAD).load_over("scratch")[1] == 2


def test_a_ratio_is_taken_within_a_round() -> None:
    assert pair(ways(1, 2), ways(10, 20), ways(4, 2)).load_over(LOAD)[1] == pytest.approx(0.5)


def test_a_decision_is_right_if_the_other_way_takes_longer() -> None:
    assert pair(ways(1, 2)).is_decided_right
    assert not pair(ways(2, 1)).is_decided_right
    assert pair(ways(2, 1), decided=LOAD).is_decided_right


@pytest.mark.parametrize(("estimate", "holds"), [(0.69, False), (0.71, True), (1.29, True), (1.31, False)])
def test_an_estimate_holds_within_30_percent_of_the_truth(estimate: float, holds: bool) -> None:
    assert pair(ways(1, 9), ways(1, 9), ways(5, 9), estimate=estimate).is_estimated(TRANSFORM) is holds


def test_each_way_is_held_against_its_own_estimate() -> None:
    assert pair(ways(1, 2)).is_estimated(LOAD)
    assert not pair(ways(1, 3)).is_estimated(LOAD)


def test_one_answer_that_differs_makes_a_pair_unequal() -> None:
    wrong = Taken(0, 1, 1, None, is_equal=False)
    assert pair(ways(1, 1)).is_equal
    assert not pair(ways(1, 1), {**ways(1, 1), TRANSFORM: wrong}).is_equal


def test_models_of_a_family_are_kin() -> None:
    families = [frozenset({"resnet18", "resnet50"}), frozenset({"vgg16"})]
    assert transform_figures.kinship("resnet18", "resnet50", families) == FAMILY
    assert transform_figures.kinship("resnet18", "vgg16", families) == ACROSS


def test_pairs_are_told_apart_by_kinship() -> None:
    found = [pair(ways(1, 1), kinship=kind) for kind in (SAME, FAMILY, FAMILY, ACROSS)]
    assert [len(transform_figures.of_kinship(found, kind)) for kind in (SAME, FAMILY, ACROSS)] == [1, 2, 1]


def test_means_are_taken_of_each_quartile() -> None:
    assert transform_figures.over_models([(1, 2, 4), (1, 2, 16)]) == pytest.approx((1, 2, 8))


def test_below_turns_a_ratio_and_its_quartiles_round() -> None:
    assert transform_figures.below((0.01, 0.02, 0.05)) == pytest.approx((0.95, 0.98, 0.99))


def test_the_worst_pair_is_the_one_with_the_largest_median() -> None:
    assert transform_figures.worst([(1, 2, 99), (1, 3, 4)]) == (1, 3, 4)


def test_planning_is_counted_by_the_operators_of_both_models() -> None:
    assert Planned(operators=500, plan_us=(400, 600, 900), over_optimal=1.0).us_per_operator == pytest.approx(1.2)


def test_a_share_of_nothing_is_refused() -> None:
    assert transform_figures.share([True, False, True, True]) == 0.75
    with pytest.raises(ValueError, match="no values"):
        transform_figures.share([])
