"""Eviction, keep-alive, overload and closing, with a whole engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import action, invocation

from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import OverloadedError
from instar_controller.policies.idle import Patience
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Status

GATED = "def main(args):\n    reached.set()\n    gate.wait(60)\n    return {}\n"


def call(name: str) -> Invocation:
    return invocation(action(name=name))


def test_the_longest_unused_container_makes_room(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=512))
    starts = [start_of(engine.run_to_the_end(call(name))) for name in ("a", "b", "a", "c", "a", "b")]
    assert starts == ["cold", "cold", "warm", "cold", "warm", "cold"]


def test_an_idle_container_goes_and_its_memory_is_free_again(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256, patience=Patience(keep_alive_s=0.05)))
    engine.run(call("a"))
    assert engine.containers.removed.get(timeout=WAIT_S) == "c1"
    assert start_of(engine.run(call("a"))) == "cold"


def test_a_job_waits_for_memory_that_is_in_use(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256))
    first = engine.submit(invocation(action(GATED, name="a")))
    assert engine.reached.wait(WAIT_S)
    second = engine.submit(call("b"))
    assert not second.done()
    engine.gate.set()
    assert first.result(WAIT_S).response.status is Status.SUCCESS
    assert second.result(WAIT_S).response.status is Status.SUCCESS


def test_beyond_its_queue_the_engine_takes_nothing_on(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256), EngineSettings(queue_length=2))
    futures = [engine.submit(invocation(action(GATED)))]
    assert engine.reached.wait(WAIT_S)
    futures += [engine.submit(invocation(action(GATED))) for _ in range(2)]
    with pytest.raises(OverloadedError):
        engine.submit(invocation(action(GATED)))
    engine.gate.set()
    assert all(future.result(WAIT_S).response.status is Status.SUCCESS for future in futures)


def test_closing_lets_running_calls_end(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    running = engine.submit(invocation(action(GATED)))
    assert engine.reached.wait(WAIT_S)
    engine.close()  # opens the gate, then closes
    assert running.result(0).response.status is Status.SUCCESS
    assert engine.store.written.qsize() == 1
    with pytest.raises(OverloadedError):
        engine.submit(invocation())


def test_closing_gives_up_what_does_not_end_and_what_waits(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256))
    running = engine.submit(invocation(action(GATED)))
    assert engine.reached.wait(WAIT_S)
    waiting = engine.submit(call("other"))
    engine.invoker.close(drain_s=0.05)
    assert running.result(0).response.status is Status.DEVELOPER_ERROR
    assert waiting.result(0).response.status is Status.WHISK_ERROR
    assert engine.store.written.qsize() == 2
