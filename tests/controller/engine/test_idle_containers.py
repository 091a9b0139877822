"""What is idle for too long is paused, then removed: to the second."""

from worlds import container, function

from instar_controller.policies import idle
from instar_controller.policies.idle import Patience
from instar_controller.policies.lifecycle import State

IDLE = (State.READY, State.PAUSED)


def test_a_container_expires_when_its_time_is_up_and_not_before() -> None:
    warm = container(function(), last_used_s=100.0)
    assert idle.expired([warm], Patience(60.0), now_s=159.9) == ()
    assert idle.expired([warm], Patience(60.0), now_s=160.0) == (warm.id,)


def test_a_container_that_sleeps_expires_like_one_that_is_awake() -> None:
    asleep = container(function(), last_used_s=100.0, state=State.PAUSED)
    assert idle.expired([asleep], Patience(60.0, 10.0), now_s=160.0) == (asleep.id,)
    assert idle.next_step_s([asleep], Patience(60.0, 10.0)) == 160.0


def test_only_idle_warm_containers_expire_or_sleep() -> None:
    others = [container(function(), state=state) for state in State if state not in IDLE]
    assert idle.expired(others, Patience(1.0, 1.0), now_s=1e9) == ()
    assert idle.rested(others, Patience(1.0, 1.0), now_s=1e9) == ()
    assert idle.next_step_s(others, Patience(1.0, 1.0)) is None


def test_the_next_expiry_is_that_of_the_longest_unused() -> None:
    both = [container(function(), last_used_s=5.0), container(function(), last_used_s=3.0)]
    assert idle.next_step_s(both, Patience(10.0)) == 13.0
    assert idle.expired(both, Patience(10.0), now_s=15.0) == (both[1].id, both[0].id)


def test_a_container_sleeps_when_its_grace_is_over_and_not_twice() -> None:
    patience = Patience(60.0, 10.0)
    awake, asleep = (container(function(), last_used_s=100.0, state=state) for state in IDLE)
    assert idle.next_step_s([awake, asleep], patience) == 110.0
    assert idle.rested([awake, asleep], patience, now_s=109.9) == ()
    assert idle.rested([awake, asleep], patience, now_s=110.0) == (awake.id,)


def test_without_a_grace_nothing_sleeps() -> None:
    assert idle.rested([container(function())], Patience(60.0), now_s=1e9) == ()
