"""What a caller and the store get of an invocation that goes well."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import action, invocation

from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.prewarm import StemCells
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.store_level import StoreLevel

PRINTING = "def main(args):\n    print('hello')\n    return args\n"
GATED = "def main(args):\n    reached.set()\n    gate.wait(60)\n    return {}\n"


def test_the_first_call_is_cold_and_the_next_is_warm(engine: Engine) -> None:
    cold, warm = (engine.run(invocation(content={"n": n})) for n in (1, 2))
    assert (start_of(cold), start_of(warm)) == ("cold", "warm")
    assert cold.response == Response(Status.SUCCESS, {"n": 1}, len('{"n": 1}\n'))
    assert cold.init_time is not None
    assert warm.init_time is None
    assert cold.instar is not None and set(cold.instar) == {"start", "bootMs", "initMs", "runMs"}


def test_the_answer_comes_without_the_log_and_the_record_with_it(engine: Engine) -> None:
    job = invocation(action(PRINTING), {"n": 1})
    answer = engine.run(job)
    record = engine.record()
    assert answer.logs == ()
    assert [line.split(" ", 1)[1].strip() for line in record.logs] == ["stdout: hello"]
    assert record.with_logs(()) == answer
    assert engine.store.get_activation("guest", job.activation_id) == record


def test_a_log_limit_of_zero_keeps_the_container_and_no_lines(engine: Engine) -> None:
    quiet = action(PRINTING, logs_mb=0)
    assert [start_of(engine.run(invocation(quiet))) for _ in range(3)] == ["cold", "warm", "warm"]
    assert engine.record().logs == ()


def test_a_namespace_that_wants_no_records_gets_none(engine: Engine) -> None:
    engine.run(invocation(store_level=StoreLevel.NEVER))
    kept = invocation()
    engine.run(kept)
    assert engine.record().activation_id == kept.activation_id


def test_init_parameters_are_in_the_environment_of_the_function(engine: Engine) -> None:
    code = "def main(args):\n    return {'model': environment['MODEL']}\n"
    answer = engine.run(invocation(action(code), environment={"MODEL": "resnet"}))
    assert answer.response.result == {"model": "resnet"}


def test_a_stem_cell_is_taken_and_another_takes_its_place(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(stem_cells=(StemCells("python:3", 256, 1),)))
    first = engine.up.get(timeout=WAIT_S)
    assert start_of(engine.run(invocation())) == "prewarmed"
    assert engine.up.get(timeout=WAIT_S) != first
    assert start_of(engine.run(invocation(action(name="g"), revision=2))) == "prewarmed"


def test_calls_one_after_the_other_need_one_container(engine: Engine) -> None:
    for _ in range(50):
        engine.run(invocation(action(PRINTING)))
    assert engine.containers.begun.qsize() == 1


def test_calls_side_by_side_run_side_by_side(engine: Engine) -> None:
    first = engine.submit(invocation(action(GATED)))
    assert engine.reached.wait(WAIT_S)
    engine.reached.clear()
    second = engine.submit(invocation(action(GATED)))
    assert engine.reached.wait(WAIT_S), "the second waits for the first"
    engine.gate.set()
    assert {start_of(future.result(WAIT_S)) for future in (first, second)} == {"cold"}


@pytest.mark.parametrize(
    "other", [invocation(revision=2), invocation(namespace="other"), invocation(environment={"A": "b"})]
)
def test_another_version_caller_or_environment_gets_another_container(engine: Engine, other: object) -> None:
    engine.run(invocation())
    assert start_of(engine.run(other)) == "cold"  # type: ignore[arg-type]


def test_the_invoker_is_up_until_it_is_closed(engine: Engine) -> None:
    assert engine.invoker.invokers() == {"invoker0/instar": "up"}
    engine.close()
    assert engine.invoker.invokers() == {"invoker0/instar": "down"}
