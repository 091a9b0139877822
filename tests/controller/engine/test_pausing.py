"""Containers that fall asleep between two calls, with a whole engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import invocation

from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ContainerError
from instar_controller.policies.idle import Patience
from instar_controller.policies.removal import Why
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.response import Status


@pytest.fixture
def sleepy(make_engine: Callable[..., Engine]) -> Engine:
    """An engine whose containers fall asleep as soon as they have nothing to do."""
    return make_engine(PoolSettings(patience=Patience(pause_grace_s=0.0)))


def refuse(id: ContainerId) -> None:
    raise ContainerError(f"{id} does not obey")


def test_the_next_call_wakes_the_container_and_is_warm(sleepy: Engine) -> None:
    sleepy.run(invocation())
    assert sleepy.containers.asleep.get(timeout=WAIT_S) == "c1"
    assert start_of(sleepy.run(invocation())) == "warm"
    assert sleepy.containers.awake.get_nowait() == "c1"
    assert sleepy.containers.asleep.get(timeout=WAIT_S) == "c1"


def test_without_a_grace_no_container_is_put_to_sleep(engine: Engine) -> None:
    engine.containers.before_pause = refuse
    engine.run(invocation())
    assert start_of(engine.run(invocation())) == "warm"


def test_a_call_whose_container_does_not_wake_runs_in_a_new_one(sleepy: Engine) -> None:
    sleepy.run(invocation())
    assert sleepy.containers.asleep.get(timeout=WAIT_S) == "c1"
    sleepy.containers.before_resume = refuse
    answer = sleepy.run(invocation(content={"n": 2}))
    assert (answer.response.result, start_of(answer)) == ({"n": 2}, "cold")
    remove, _ = sleepy.gone.get(timeout=WAIT_S)
    assert (remove.container, remove.reason.why, remove.reason.detail) == (
        "c1",
        Why.RESUME_FAILED,
        "c1 does not obey",
    )


def test_a_container_that_is_awake_but_does_not_answer_has_its_job_run_elsewhere_once(sleepy: Engine) -> None:
    sleepy.run(invocation())
    assert sleepy.containers.asleep.get(timeout=WAIT_S) == "c1"

    def refuse_all(id: ContainerId, path: str) -> None:
        raise ContainerError(f"{id} refuses the connection")

    sleepy.containers.before_post = refuse_all
    assert sleepy.run(invocation()).response.status is Status.WHISK_ERROR
    assert [sleepy.gone.get(timeout=WAIT_S)[0].reason.why for _ in range(2)] == [Why.UNREACHABLE] * 2
    assert sleepy.containers.begun.qsize() == 2


def test_a_container_that_does_not_fall_asleep_is_replaced(sleepy: Engine) -> None:
    sleepy.containers.before_pause = refuse
    sleepy.run(invocation())
    remove, _ = sleepy.gone.get(timeout=WAIT_S)
    assert remove.reason.why is Why.PAUSE_FAILED
    sleepy.containers.before_pause = lambda _: None
    assert start_of(sleepy.run(invocation())) == "cold"
