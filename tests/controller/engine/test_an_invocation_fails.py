"""What a caller gets when a function, its container or the platform fails, and what becomes of the
container."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import action, invocation
from worlds import job

from instar_controller.engines.errand import Errand, Seen
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.orders import Run, StartKind, Work
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.response import Disconnected, Outcome, Replied, Status


def error_of(activation: Activation) -> object:
    result = activation.response.result
    assert isinstance(result, dict)
    return result["error"]


def is_kept(engine: Engine, code: str) -> bool:
    """Whether the next call of the same function finds the container that the last one left."""
    return start_of(engine.run(invocation(action(code)))) == "warm"


def test_an_exception_is_the_applications_error_and_keeps_the_container(engine: Engine) -> None:
    code = "def main(args):\n    return {'x': 1 / 0}\n"
    answer = engine.run(invocation(action(code)))
    assert (answer.response.status, error_of(answer)) == (Status.APPLICATION_ERROR, "division by zero")
    assert is_kept(engine, code)


def test_a_wrong_result_is_the_developers_error_and_costs_the_container(engine: Engine) -> None:
    code = "def main(args):\n    return 'text'\n"
    answer = engine.run(invocation(action(code)))
    assert answer.response.status is Status.DEVELOPER_ERROR
    assert error_of(answer) == "The action did not return a dictionary or array."
    assert (
        engine.record()
        .logs[-1]
        .endswith("stderr: The action did not initialize or run as expected. Log data might be missing.")
    )
    assert not is_kept(engine, code)


def test_a_failed_init_is_the_developers_error_and_says_why_in_the_log(engine: Engine) -> None:
    code = "def main(args)\n"
    answer = engine.run(invocation(action(code)))
    assert answer.response.status is Status.DEVELOPER_ERROR
    assert error_of(answer) == "The action failed to generate or locate a binary. See logs for details."
    assert (answer.init_time is not None, answer.duration) == (True, answer.init_time)
    assert "SyntaxError" in engine.record().logs[0]
    assert not is_kept(engine, code)


def test_a_result_over_the_limit_is_an_application_error_and_keeps_the_container(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(settings=EngineSettings(max_result_bytes=100))
    code = "def main(args):\n    return {'big': 'x' * args.get('n', 0)}\n"
    answer = engine.run(invocation(action(code), {"n": 500}))
    assert answer.response.status is Status.APPLICATION_ERROR
    assert str(error_of(answer)).startswith(
        "The action produced a response that exceeded the allowed length: 512 > 100 bytes. "
        'The truncated response was: {"big": "xxx'
    )
    assert is_kept(engine, code)


def test_a_run_beyond_its_time_limit_is_ended(engine: Engine) -> None:
    code = "def main(args):\n    if args:\n        gate.wait(60)\n    return {}\n"
    engine.run(invocation(action(code)))  # so that no `/init` has to keep that limit
    answer = engine.run(invocation(action(code, timeout_ms=100), {"n": 1}))
    assert answer.response.status is Status.DEVELOPER_ERROR
    assert error_of(answer) == "The action exceeded its time limits of 100 milliseconds."
    assert answer.timeout
    assert 100 <= answer.duration < 30_000
    assert engine.containers.removed.get(timeout=WAIT_S) == "c1"


def test_an_init_beyond_its_time_limit_is_ended(engine: Engine) -> None:
    code = "gate.wait(60)\ndef main(args):\n    return {}\n"
    answer = engine.run(invocation(action(code, timeout_ms=100)))
    assert error_of(answer) == "The action exceeded its time limits of 100 milliseconds during initialization."
    assert (answer.timeout, answer.init_time) == (True, answer.duration)
    assert engine.containers.removed.get(timeout=WAIT_S) == "c1"


class SlowContainers:
    """Containers whose every answer takes 300 ms of their clock, and how long each was given."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.given: list[tuple[str, int, int]] = []  # path, limit and deadline, from the asking on

    def now_ms(self) -> int:
        return self.now

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        asked = json.loads(body)
        deadline = asked["value"]["env"]["__OW_DEADLINE"] if path == "/init" else asked["deadline"]
        self.given.append((path, timeout_ms, int(deadline) - self.now))
        self.now += 300
        return Replied(200, b"{}", 2)


def test_init_and_run_have_a_full_time_limit_each() -> None:
    slow = SlowContainers()
    wanted = invocation(action(timeout_ms=500))
    run = Run(ContainerId("c1"), Work(wanted.activation_id, job()), StartKind.COLD)
    seen = Errand(slow, slow, max_result_bytes=1 << 20).carry_out(run, wanted)  # type: ignore[arg-type]
    assert isinstance(seen, Seen) and seen.ruin is None
    assert (seen.activation.response.status, seen.activation.duration) == (Status.SUCCESS, 600)
    assert slow.given == [("/init", 500, 500), ("/run", 500, 500)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/init", "The action did not initialize and exited unexpectedly."),
        ("/run", "The action did not produce a valid response and exited unexpectedly."),
    ],
)
def test_a_container_that_dies_under_a_job_is_the_developers_error_and_not_tried_again(
    engine: Engine, path: str, text: str
) -> None:
    def die(id: ContainerId, posted: str) -> Outcome | None:
        if posted != path:
            return None
        engine.containers.threads.kill(id)
        return Disconnected()

    engine.containers.before_post = die
    answer = engine.run(invocation())
    assert (answer.response.status, error_of(answer)) == (Status.DEVELOPER_ERROR, text)
    assert engine.containers.begun.qsize() == 1
    engine.containers.before_post = lambda *_: None
    assert engine.run(invocation()).response.status is Status.SUCCESS


def test_a_warm_container_that_is_dead_when_it_is_taken_is_replaced_unnoticed(engine: Engine) -> None:
    engine.run(invocation())

    def die(id: ContainerId, path: str) -> Outcome | None:
        engine.containers.before_post = lambda *_: None
        engine.containers.threads.kill(id)
        raise ContainerError(f"{id} is dead")

    engine.containers.before_post = die
    answer = engine.run(invocation(content={"n": 2}))
    assert (answer.response.result, start_of(answer)) == ({"n": 2}, "cold")


def test_a_container_that_dies_between_two_calls_is_replaced(engine: Engine) -> None:
    engine.run(invocation())
    engine.record()
    engine.containers.threads.kill(ContainerId("c1"))
    assert start_of(engine.run(invocation())) == "cold"


def test_a_container_that_is_shutting_down_has_its_job_run_elsewhere(engine: Engine) -> None:
    def refuse_once(id: ContainerId, path: str) -> Outcome | None:
        engine.containers.before_post = lambda *_: None
        return Replied(503, b"{}", 2)

    engine.containers.before_post = refuse_once
    assert engine.run(invocation()).response.status is Status.SUCCESS
    assert engine.containers.removed.get(timeout=WAIT_S) == "c1"


def test_a_job_that_two_dead_containers_never_saw_is_the_platforms_failure(engine: Engine) -> None:
    def refuse(id: ContainerId, path: str) -> Outcome | None:
        raise ContainerError(f"{id} is dead")

    engine.containers.before_post = refuse
    answer = engine.run(invocation())
    assert answer.response.status is Status.WHISK_ERROR
    assert error_of(answer) == "Failed to provision resources to run the action."
    assert engine.containers.begun.qsize() == 2


def test_code_that_ends_its_container_after_its_init_is_not_tried_again(engine: Engine) -> None:
    def die(id: ContainerId, path: str) -> Outcome | None:
        if path == "/run":
            raise ContainerError(f"{id} is dead")
        return None

    engine.containers.before_post = die
    answer = engine.run(invocation())
    assert error_of(answer) == "The action did not produce a valid response and exited unexpectedly."
    assert engine.containers.begun.qsize() == 1


def test_a_container_that_does_not_start_is_the_platforms_failure(engine: Engine) -> None:
    engine.refuse_starts()
    answer = engine.run(invocation())
    assert answer.response.status is Status.WHISK_ERROR
    assert error_of(answer) == "Failed to provision resources to run the action."
    assert engine.record().with_logs(()) == answer
    engine.containers.before_start = lambda _: None
    assert engine.run(invocation()).response.status is Status.SUCCESS


def test_a_mistake_of_our_own_costs_nobody_the_answer(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(id: ContainerId, path: str) -> Outcome | None:
        raise ZeroDivisionError

    engine.containers.before_post = stumble
    assert engine.run(invocation()).response.status is Status.WHISK_ERROR
    assert "ZeroDivisionError" in caplog.text
    engine.containers.before_post = lambda *_: None
    assert engine.run(invocation()).response.status is Status.SUCCESS


def test_a_store_that_is_full_loses_the_record_and_nothing_else(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.store.is_full = True
    lost = invocation()
    assert engine.run(lost).response.status is Status.SUCCESS
    assert engine.store.refused.get(timeout=WAIT_S) == lost.activation_id
    engine.store.is_full = False
    kept = invocation()
    assert start_of(engine.run(kept)) == "warm"
    assert engine.record().activation_id == kept.activation_id
    engine.close()  # and everything is said
    assert f"the record of activation {lost.activation_id} is lost: the disk is full" in caplog.text


def test_a_log_without_its_end_costs_the_container_but_not_the_answer(engine: Engine) -> None:
    engine.containers.before_post = lambda id, path: Replied(200, b"{}", 2)  # and no sentinel
    answer = engine.run(invocation())
    assert answer.response.status is Status.SUCCESS
    assert (
        engine.record()
        .logs[-1]
        .endswith("stderr: There was an issue while collecting your logs. Data might be missing.")
    )
    assert engine.containers.removed.get(timeout=WAIT_S) == "c1"


def test_an_action_that_needs_more_than_the_pool_has_is_the_platforms_failure(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(PoolSettings(memory_mb=256))
    assert engine.run(invocation(action(memory_mb=512))).response.status is Status.WHISK_ERROR
    assert engine.run(invocation(action(memory_mb=256), revision=2)).response.status is Status.SUCCESS
