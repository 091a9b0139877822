"""Each invocation is answered, and then finished, each exactly once, whatever throws in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import pytest
from engines import WAIT_S, Engine
from jobs import action, invocation

from instar_controller.engines import records
from instar_controller.engines.debts import Debts
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ImageError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import PendingLog
from instar_controller.whisk import response
from instar_controller.whisk.action import Exec
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Outcome, Response, Status

TALKING = "def main(args):\n    print('a line')\n    return args\n"


class Heard:
    """What one caller was told, in order."""

    def __init__(self, engine: Engine, job: Invocation) -> None:
        self.told: queue.SimpleQueue[tuple[str, Activation]] = queue.SimpleQueue()
        engine.invoker.submit(job, self)

    def answered(self, activation: Activation) -> None:
        self.told.put(("answered", activation))

    def finished(self, activation: Activation) -> bool:
        self.told.put(("finished", activation))
        return True

    def relieved(self) -> None:
        raise AssertionError("nobody joins")

    def next(self) -> tuple[str, Activation]:
        return self.told.get(timeout=WAIT_S)


def test_the_end_comes_after_the_answer_and_has_the_log(engine: Engine) -> None:
    heard = Heard(engine, invocation(action(TALKING)))
    first, answered = heard.next()
    second, finished = heard.next()
    assert (first, second) == ("answered", "finished")
    assert answered.logs == ()
    assert [line.partition(": ")[2] for line in finished.logs] == ["a line"]
    assert engine.record() == finished
    assert finished.with_logs(()) == answered


def test_a_mistake_before_the_answer_gives_both(engine: Engine) -> None:
    def stumble(id: ContainerId, path: str) -> Outcome | None:
        raise ZeroDivisionError

    engine.containers.before_post = stumble
    heard = Heard(engine, invocation())
    assert [heard.next()[0], heard.next()[0]] == ["answered", "finished"]
    assert engine.record().response.status is Status.WHISK_ERROR
    engine.close()
    assert heard.told.empty()
    assert engine.store.written.empty()


def test_a_mistake_after_the_answer_gives_the_end_with_that_answer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable:
        def collect(self, *, timeout_ms: int) -> None:
            raise ZeroDivisionError

    def begin_log(id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        return Unreadable()  # type: ignore[return-value]

    monkeypatch.setattr(engine.containers, "begin_log", begin_log)
    heard = Heard(engine, invocation(content={"n": 1}))
    (first, answered), (second, finished) = heard.next(), heard.next()
    assert (first, second) == ("answered", "finished")
    assert answered.response.result == finished.response.result == {"n": 1}
    assert finished.logs[-1].endswith("There was an issue while collecting your logs. Data might be missing.")
    assert engine.record() == finished
    engine.close()
    assert heard.told.empty()
    assert engine.store.written.empty()


def test_who_is_told_may_stumble_and_the_record_is_kept(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    class Stumbling:
        def answered(self, activation: Activation) -> None:
            raise ZeroDivisionError

        def finished(self, activation: Activation) -> bool:
            raise ZeroDivisionError

        def relieved(self) -> None:
            raise AssertionError("nobody joins")

    job = invocation()
    assert engine.invoker.submit(job, Stumbling()).result(WAIT_S).response.status is Status.SUCCESS
    assert engine.record().activation_id == job.activation_id
    assert f"the answer of activation {job.activation_id} was not heard" in caplog.text
    assert f"the end of activation {job.activation_id} was not heard" in caplog.text


def test_a_job_without_a_container_is_answered_and_finished(engine: Engine) -> None:
    engine.refuse_starts()
    heard = Heard(engine, invocation())
    (first, answered), (second, finished) = heard.next(), heard.next()
    assert (first, second) == ("answered", "finished")
    assert answered == finished
    assert finished.response.status is Status.WHISK_ERROR


def test_an_image_that_cannot_be_had_is_its_users_fault(engine: Engine) -> None:
    def refuse(id: ContainerId) -> None:
        raise ImageError("Failed to pull container image 'example/nosuch'.")

    engine.containers.before_start = refuse
    answer = engine.run(invocation())
    assert answer.response == Response(
        Status.DEVELOPER_ERROR, {"error": "Failed to pull container image 'example/nosuch'."}
    )
    engine.containers.before_start = lambda _: None
    assert engine.run(invocation()).response.status is Status.SUCCESS


def test_what_runs_at_the_end_is_answered_and_finished(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(PoolSettings(memory_mb=256), EngineSettings(log_wait_ms=50))
    running = Heard(engine, invocation(action("def main(args):\n    reached.set()\n    gate.wait(60)\n")))
    assert engine.reached.wait(WAIT_S)
    waiting = Heard(engine, invocation())
    engine.invoker.close(drain_s=0)
    for heard in (running, waiting):
        assert [heard.next()[0], heard.next()[0]] == ["answered", "finished"]
        assert heard.told.empty()


def test_many_pay_the_same_debt_and_one_of_them_does() -> None:
    debts = Debts()
    job = invocation()
    told: list[str] = []

    class Listing:
        def answered(self, activation: Activation) -> None:
            told.append("answered")

        def finished(self, activation: Activation) -> bool:
            told.append("finished")
            return True

        def relieved(self) -> None:
            told.append("relieved")

    debts.owe(job, Listing())
    activation = give_up(job)
    start = threading.Barrier(8)

    def pay(step: Callable[[Activation], bool]) -> None:
        start.wait()
        step(activation)

    payers = [threading.Thread(target=pay, args=(step,)) for step in [debts.answer, debts.finish] * 4]
    for payer in payers:
        payer.start()
    for payer in payers:
        payer.join(WAIT_S)
    assert told == ["answered", "finished"]
    assert debts.wait_until_paid(0)


def give_up(job: Invocation) -> Activation:
    return records.activation(job, records.Course(), response.of_failed_start(), now_ms=0)


def test_an_image_is_a_kind_of_its_own() -> None:
    assert action().exec.container_kind == "python:3"
    own = Exec("blackbox", "", binary=False, image="me/mine:1", is_trusted=False)
    assert own.container_kind == "blackbox:me/mine:1"
    assert own.to_json() == {"kind": "blackbox", "binary": False}
