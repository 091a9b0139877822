"""The weights of a start are sent for when the start is decided, and never cost anybody anything."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import action, invocation

from instar_controller.clients.memory import MemoryWeights
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.response import Outcome, Replied, Status
from instar_controller.whisk.weights import Amounts, Report


def told(activation: Activation) -> object:
    """What the record says of weights."""
    assert activation.instar is not None
    return activation.instar.get("weights")


def test_they_are_on_their_way_before_a_cold_container_is_made(engine: Engine) -> None:
    seen: list[int] = []
    engine.containers.before_start = lambda _: seen.append(engine.weights.begun.qsize())
    job = invocation()
    assert start_of(engine.run(job)) == "cold"
    assert seen == [1]
    assert engine.weights.begun.get(timeout=WAIT_S) is job


def test_they_are_on_their_way_before_a_stem_cell_is_initialised(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(stem_cells=(StemCells("python:3", 256, 1),)))
    engine.up.get(timeout=WAIT_S)
    assert engine.weights.begun.empty()  # a stem cell is nobody's yet
    seen: list[tuple[str, int]] = []

    def note(_: ContainerId, path: str) -> Outcome | None:
        seen.append((path, engine.weights.begun.qsize()))
        return None

    engine.containers.before_post = note
    assert start_of(engine.run(invocation())) == "prewarmed"
    assert seen == [("/init", 1), ("/run", 1)]


def test_a_warm_start_sends_for_nothing(engine: Engine) -> None:
    assert [start_of(engine.run(invocation())) for _ in range(3)] == ["cold", "warm", "warm"]
    assert engine.weights.begun.qsize() == 1


def test_the_record_tells_what_was_there_and_what_came(engine: Engine) -> None:
    engine.weights.memory = MemoryWeights({1: 97_000_000})
    first = engine.run(invocation())
    assert told(first) == {"presentBytes": 0, "fetchedBytes": 97_000_000}
    engine.record()
    engine.containers.threads.kill(ContainerId("c1"))
    again = engine.run(invocation())
    assert (start_of(again), told(again)) == ("cold", {"presentBytes": 97_000_000, "fetchedBytes": 0})
    assert told(engine.run(invocation())) is None


def reporting(report: Report) -> Callable[[ContainerId, str], Outcome | None]:
    """Containers that answer `/run` with this report."""
    return lambda _, path: Replied(200, b"{}", 2, report) if path == "/run" else None


def test_the_amounts_are_those_since_the_decision_and_the_waiting_is_the_containers(engine: Engine) -> None:
    engine.weights.memory = MemoryWeights({1: 1000})
    engine.containers.before_post = reporting(Report(Amounts(present_bytes=900, fetched_bytes=100), waited_ms=12))
    assert told(engine.run(invocation())) == {"presentBytes": 0, "fetchedBytes": 1000, "waitedMs": 12}


def test_where_nothing_was_sent_for_the_containers_own_report_counts(engine: Engine) -> None:
    engine.containers.before_post = reporting(Report(Amounts(present_bytes=900, fetched_bytes=100), waited_ms=12))
    assert told(engine.run(invocation())) == {"presentBytes": 900, "fetchedBytes": 100, "waitedMs": 12}


def test_a_job_that_is_run_elsewhere_sends_for_its_weights_again(engine: Engine) -> None:
    def refuse_once(id: ContainerId, path: str) -> Outcome | None:
        engine.containers.before_post = lambda *_: None
        return Replied(503, b"{}", 2)

    engine.containers.before_post = refuse_once
    assert start_of(engine.run(invocation())) == "cold"
    assert engine.weights.begun.qsize() == 2
    assert all(delivery.is_closed for delivery in engine.weights.deliveries)


@pytest.mark.parametrize("way", ["answered", "no container", "failed init"])
def test_nothing_of_a_delivery_is_kept(engine: Engine, way: str) -> None:
    if way == "no container":
        engine.refuse_starts()
    engine.run(invocation(action("def main(") if way == "failed init" else action()))
    engine.close()  # where there was no container, the record is written first
    (delivery,) = engine.weights.deliveries
    assert delivery.is_closed


def test_a_mistake_of_ours_in_sending_costs_nobody_the_answer(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: object) -> None:
        raise ZeroDivisionError

    engine.weights.before_begin = stumble
    job = invocation()
    assert engine.run(job).response.status is Status.SUCCESS
    assert f"the weights of activation {job.activation_id} are not sent for" in caplog.text


def test_an_engine_closes_while_weights_are_sent_for(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    sending, closing = threading.Event(), threading.Event()

    def meet(_: object) -> None:
        sending.set()
        closing.wait(WAIT_S)

    engine.weights.before_begin = meet
    future = engine.submit(invocation())
    assert sending.wait(WAIT_S)
    closer = threading.Thread(target=engine.invoker.close, kwargs={"drain_s": 0.0})
    closer.start()
    assert future.result(WAIT_S).response.status is Status.WHISK_ERROR
    closing.set()
    closer.join(WAIT_S)
    assert all(delivery.is_closed for delivery in engine.weights.deliveries)
