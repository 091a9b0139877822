"""Keep-alive: what has been idle too long, to the second."""

from worlds import container, function

from instar_controller.policies import idle
from instar_controller.policies.lifecycle import State


def test_a_container_expires_when_its_time_is_up_and_not_before() -> None:
    warm = container(function(), last_used_s=100.0)
    assert idle.expired([warm], now_s=159.9, keep_alive_s=60.0) == ()
    assert idle.expired([warm], now_s=160.0, keep_alive_s=60.0) == (warm.id,)


def test_only_idle_warm_containers_expire() -> None:
    others = [container(function(), state=state) for state in State if state is not State.READY]
    assert idle.expired(others, now_s=1e9, keep_alive_s=1.0) == ()
    assert idle.next_expiry_s(others, keep_alive_s=1.0) is None


def test_the_next_expiry_is_that_of_the_longest_unused() -> None:
    both = [container(function(), last_used_s=5.0), container(function(), last_used_s=3.0)]
    assert idle.next_expiry_s(both, keep_alive_s=10.0) == 13.0
    assert idle.expired(both, now_s=15.0, keep_alive_s=10.0) == (both[1].id, both[0].id)
