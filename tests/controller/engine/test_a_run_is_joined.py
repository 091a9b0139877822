"""Who joins an invocation that is under way is told all of it, once; who was told so far is told that he is not."""

from __future__ import annotations

import queue
import threading

import pytest
from engines import WAIT_S, Engine
from jobs import action, invocation

from instar_controller.engines import records
from instar_controller.engines.debts import Debts
from instar_controller.whisk import response
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation

HOLDING = "def main(args):\n    reached.set()\n    gate.wait(60)\n    return args\n"


class Told:
    """What one hearer was told, in order."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[str] = queue.SimpleQueue()

    def answered(self, activation: Activation) -> None:
        self.news.put("answered")

    def finished(self, activation: Activation) -> bool:
        self.news.put("finished")
        return True

    def relieved(self) -> None:
        self.news.put("relieved")

    def all(self) -> list[str]:
        found = []
        while not self.news.empty():
            found.append(self.news.get())
        return found


def ended(job: Invocation) -> Activation:
    return records.activation(job, records.Course(), response.of_failed_start(), now_ms=0)


def test_before_the_answer(engine: Engine) -> None:
    job = invocation(action(HOLDING), content={"n": 1})
    first, second = Told(), Told()
    engine.invoker.submit(job, first)
    assert engine.reached.wait(WAIT_S)
    assert engine.invoker.join(job.activation_id, second)
    engine.gate.set()
    assert [second.news.get(timeout=WAIT_S) for _ in range(2)] == ["answered", "finished"]
    assert engine.record().response.result == {"n": 1}
    engine.close()
    assert (first.all(), second.all()) == (["relieved"], [])
    assert engine.store.written.empty()


def test_between_the_answer_and_the_end() -> None:
    debts, job = Debts(), invocation()
    first, second = Told(), Told()
    debts.owe(job, first)
    debts.answer(ended(job))
    assert debts.join(job.activation_id, second)
    debts.finish(ended(job))
    assert first.all() == ["answered", "relieved"]
    assert second.all() == ["answered", "finished"]


def test_after_the_end_there_is_nothing_to_join_and_it_may_run_again() -> None:
    debts, job = Debts(), invocation()
    first, second = Told(), Told()
    assert not debts.join(job.activation_id, second)
    debts.owe(job, first)
    debts.finish(ended(job))
    assert not debts.join(job.activation_id, second)
    debts.owe(job, second)
    debts.finish(ended(job))
    assert first.all() == second.all() == ["answered", "finished"]
    assert debts.wait_until_paid(0)


def test_while_somebody_is_told_of_the_end_it_may_be_owed_anew_and_both_are_paid() -> None:
    debts, job = Debts(), invocation()
    told, go_on = threading.Event(), threading.Event()

    class Slow(Told):
        def finished(self, activation: Activation) -> bool:
            told.set()
            return go_on.wait(WAIT_S) and super().finished(activation)

    first, second = Slow(), Told()
    debts.owe(job, first)
    paying = threading.Thread(target=debts.finish, args=(ended(job),))
    paying.start()
    assert told.wait(WAIT_S)
    debts.owe(job, second)
    debts.finish(ended(job))
    assert not debts.wait_until_paid(0), "the first one is not told yet"
    go_on.set()
    paying.join(WAIT_S)
    assert debts.wait_until_paid(0)
    assert first.all() == second.all() == ["answered", "finished"]


def test_who_is_relieved_may_stumble(caplog: pytest.LogCaptureFixture) -> None:
    class Stumbling(Told):
        def relieved(self) -> None:
            raise ZeroDivisionError

    debts, job, second = Debts(), invocation(), Told()
    debts.owe(job, Stumbling())
    assert debts.join(job.activation_id, second)
    debts.finish(ended(job))
    assert second.all() == ["answered", "finished"]
    assert "is another's was not heard" in caplog.text


def test_many_join_while_it_ends_and_each_is_told_one_thing_last() -> None:
    """Whoever has joined is relieved, or told of answer and end; one of them is told of the end."""
    for _ in range(50):
        debts, job = Debts(), invocation()
        hearers = [Told() for _ in range(6)]
        start = threading.Barrier(len(hearers))
        debts.owe(job, hearers[0])
        threads = [threading.Thread(target=_join, args=(debts, job, hearer, start)) for hearer in hearers[1:]]
        for thread in threads:
            thread.start()
        start.wait()
        debts.finish(ended(job))
        for thread in threads:
            thread.join(WAIT_S)
        told = [hearer.all() for hearer in hearers]
        assert told.count(["answered", "finished"]) == 1
        assert all(each in (["answered", "finished"], ["relieved"], ["not joined"]) for each in told)


def _join(debts: Debts, job: Invocation, hearer: Told, start: threading.Barrier) -> None:
    start.wait()
    if not debts.join(job.activation_id, hearer):
        hearer.news.put("not joined")
