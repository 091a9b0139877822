"""Whose container may become another function."""

from __future__ import annotations

from dataclasses import replace

import pytest
from worlds import container, function, job

from instar_controller.policies import donors
from instar_controller.policies.donors import Sharing
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, Job
from instar_controller.whisk.invocation import ContainerKey

USUAL = Sharing()
ACROSS = Sharing(share_across_namespaces=True)
NOW_S = 1000.0


def found(wanted: Job, *containers: Container, sharing: Sharing = USUAL) -> tuple[Container, ...]:
    return donors.find(wanted, containers, sharing, now_s=NOW_S)


def test_a_container_is_a_donor_from_sixty_seconds_after_its_last_use() -> None:
    ripe = container(function("g"), last_used_s=NOW_S - 60)
    young = container(function("g"), last_used_s=NOW_S - 59.9)
    assert found(job(), ripe, young) == (ripe,)


def test_the_operator_says_after_how_many_seconds() -> None:
    idle = container(function("g"), last_used_s=NOW_S - 5)
    assert found(job(), idle, sharing=Sharing(idle_threshold_s=5)) == (idle,)
    assert found(job(), idle, sharing=Sharing(idle_threshold_s=5.1)) == ()


def test_one_that_sleeps_is_a_donor_too() -> None:
    asleep = container(function("g"), state=State.PAUSED)
    assert found(job(), asleep) == (asleep,)


@pytest.mark.parametrize("state", [s for s in State if s not in (State.READY, State.PAUSED)], ids=lambda s: s.value)
def test_one_with_which_anything_is_done_is_no_donor(state: State) -> None:
    assert found(job(), container(function("g"), state=state)) == ()


def test_a_donor_has_the_kind_and_the_memory_of_the_job() -> None:
    wanted = job(kind="pytorch:2", memory_mb=512)
    fits = container(function("g"), kind="pytorch:2", memory_mb=512)
    assert found(wanted, fits, replace(fits, memory_mb=1024), replace(fits, kind="python:3")) == (fits,)


def test_a_container_of_the_same_function_is_no_donor_for_it() -> None:
    assert found(job(), container(function())) == ()


def test_another_version_of_the_same_action_is_a_donor() -> None:
    older = container(function(revision=7))
    assert found(job(), older) == (older,)


@pytest.mark.parametrize(
    "foreign",
    [ContainerKey("other", "guest/g", 1, ()), ContainerKey("guest", "other/g", 1, ())],
    ids=["of another caller", "of another author"],
)
def test_only_the_same_namespace_shares_unless_the_operator_allows_more(foreign: ContainerKey) -> None:
    stranger = container(foreign)
    assert found(job(), stranger) == ()
    assert found(job(), stranger, sharing=ACROSS) == (stranger,)


@pytest.mark.parametrize("sharing", [USUAL, ACROSS], ids=["usual", "across namespaces"])
def test_who_shares_nothing_neither_gives_nor_takes(sharing: Sharing) -> None:
    assert found(job(), container(function("g"), shares=False), sharing=sharing) == ()
    assert found(job(shares=False), container(function("g")), sharing=sharing) == ()


def test_the_longest_unused_comes_first() -> None:
    newer, older = container(function("g"), last_used_s=2), container(function("h"), last_used_s=1)
    assert found(job(), newer, older) == (older, newer)


def test_one_that_was_asked_already_is_not_asked_again() -> None:
    refusing, other = container(function("g")), container(function("h"))
    asked = donors.find(job(), (refusing, other), USUAL, now_s=NOW_S, refused_by={refusing.id})
    assert asked == (other,)
