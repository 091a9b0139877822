"""Every container that goes has a reason, and the operator is told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine
from jobs import action, invocation

from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.orders import Remove
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.idle import Patience
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.response import Disconnected, Outcome, OutOfMemory, Replied, TimedOut


def reason(engine: Engine) -> Reason:
    """Why the next container has gone."""
    return engine.gone.get(timeout=WAIT_S)[0].reason


def forestall(engine: Engine, path: str, outcome: Outcome) -> None:
    engine.containers.before_post = lambda id, posted: outcome if posted == path else None


@pytest.mark.parametrize(
    ("path", "outcome", "why"),
    [
        ("/init", Replied(502, b"{}", 2), Why.INIT_FAILED),
        ("/run", Replied(400, b"{}", 2), Why.RUN_FAILED),
        ("/init", Disconnected(), Why.DISCONNECTED),
        ("/run", OutOfMemory(), Why.OUT_OF_MEMORY),
        ("/run", TimedOut(60_000), Why.TIMED_OUT),
    ],
    ids=lambda value: value.value if isinstance(value, Why) else "",
)
def test_a_failed_call_gives_the_reason_and_its_own_name(
    engine: Engine, path: str, outcome: Outcome, why: Why
) -> None:
    forestall(engine, path, outcome)
    job = invocation()
    engine.run(job)
    assert reason(engine) == Reason(why, f"guest/f, activation {job.activation_id}")


def test_an_idle_container_goes_for_being_idle(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(patience=Patience(keep_alive_s=0.0)))
    engine.run(invocation())
    assert reason(engine).why is Why.IDLE


def test_an_evicted_container_goes_for_the_one_that_needs_its_memory(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256))
    engine.run(invocation(action(name="a")))
    engine.run(invocation(action(name="b")))
    assert reason(engine) == Reason(Why.EVICTED, "guest/b needs 256 MB")


def test_a_container_that_ended_by_itself_says_how(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    engine.run(invocation())
    engine.record()
    engine.containers.threads.kill(ContainerId("c1"))
    remove, ending = engine.gone.get(timeout=WAIT_S)
    assert (remove.reason, str(ending)) == (Reason(Why.ENDED), "killed by SIGKILL")
    assert "container c1 is removed: ended by itself (killed by SIGKILL)" in caplog.text


def test_closing_is_the_reason_of_all_that_are_left(engine: Engine) -> None:
    engine.run(invocation())
    engine.close()
    assert engine.gone.get_nowait() == (Remove(ContainerId("c1"), Reason(Why.CLOSING)), None)


def test_a_log_without_its_end_is_a_reason(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings=EngineSettings(log_wait_ms=1))
    forestall(engine, "/run", Replied(200, b"{}", 2))  # and no sentinel
    engine.run(invocation())
    assert reason(engine).why is Why.LOG_LOST


def test_daily_business_is_no_news(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine.run(invocation(action("def main(args)\n")))
        engine.close()
    assert caplog.text == ""
