"""Functions that come to harm at random points: exactly one answer each, and nothing is left of them."""

from __future__ import annotations

import pytest

from tests.survival.conftest import Make
from tests.survival.crashes import HARM, MOMENTS, Fate, end, live

pytestmark = pytest.mark.system

SEED = 4
LIVES, ALL_LIVES = 25, 1000


@pytest.mark.parametrize("make", ["processes"], indirect=True)
@pytest.mark.timeout(300)
def test_a_few_lives_end_as_they_must(spares: Make) -> None:
    lead(spares, range(LIVES))


@pytest.mark.parametrize("make", ["image"], indirect=True)
@pytest.mark.timeout(300)
def test_a_few_lives_in_the_image_end_as_they_must(spares: Make) -> None:
    lead(spares, range(LIVES, LIVES + 10))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_lives_end_as_they_must(spares: Make) -> None:
    lead(spares, range(ALL_LIVES))


def test_fates_are_drawn_alike_and_meet_every_harm() -> None:
    fates = [Fate.draw(SEED, number) for number in range(ALL_LIVES)]
    assert fates == [Fate.draw(SEED, number) for number in range(ALL_LIVES)]
    assert {(fate.harm, fate.moment) for fate in fates} >= {(harm, moment) for harm in HARM for moment in MOMENTS}
    assert {fate.victim for fate in fates} == {None, "worker", "executor", "zygote", "proxy"}


def lead(spares: Make, numbers: range) -> None:
    """Lead the lives of these numbers, in the same container while it stays without a function."""
    subject = None
    for number in numbers:
        fate = Fate.draw(SEED, number)
        print("seed", SEED, fate)
        if subject is None:
            subject = spares()
        if not live(subject, fate):
            if not fate.ends_the_container:
                end(subject)
            subject = None
    if subject is not None:
        end(subject)
