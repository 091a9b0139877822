"""Hundreds of jobs while everything around them fails at random.

Invariants: every job that was taken on is completed exactly once, by its own activation; every completion has
exactly one record in the store, and it says the same; and when the faults stop, the engine works as before.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import ECHO, action, invocation
from worlds import offer

from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ContainerError
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import Disconnected, Outcome, Replied, Status, TimedOut

JOBS = 400
RAISING = "def main(args):\n    raise ValueError(args['n'])\n"
BROKEN = "def main(args)\n"


def estimate(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    """Half of the plans begin with what is not there; sometimes loading is better than any."""
    plans = {
        donor: Way(offer({"from": donor.action.rpartition("/")[2] if donor.revision % 2 else "nobody"}), 30)
        for donor in donors
    }
    return Estimates(
        warm_ms=20, prewarmed_ms=200, cold_ms=1500, reload_ms=25 if job.key.revision % 3 else None, plans=plans
    )


def rig(engine: Engine, chance: random.Random) -> None:
    def start(id: ContainerId) -> None:
        if chance.random() < 0.1:
            raise ContainerError("no start today")

    def post(id: ContainerId, path: str) -> Outcome | None:
        match chance.random():
            case p if p < 0.04:
                raise ContainerError("never reached")
            case p if p < 0.08:
                engine.containers.threads.kill(id)
                return Disconnected()
            case p if p < 0.11:
                return TimedOut(60_000)
            case p if p < 0.13:
                return Replied(503, b"", 0)
            case p if p < 0.15:
                return Replied(200, b"no JSON", 7)
            case p if p < 0.17:
                raise RuntimeError("a mistake of ours")
            case p if p < 0.20:
                engine.containers.threads.kill(id)
        return None

    def sleep(id: ContainerId) -> None:
        if chance.random() < 0.1:
            raise ContainerError("no sleep today")

    engine.containers.before_start = start
    engine.containers.before_post = post
    engine.containers.before_pause = engine.containers.before_resume = sleep


@pytest.mark.parametrize("seed", range(3))
def test_every_job_is_completed_once(make_engine: Callable[..., Engine], seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    pool = PoolSettings(
        memory_mb=2048,
        patience=Patience(keep_alive_s=0.05, pause_grace_s=0.0),
        sharing=Sharing(idle_threshold_s=0.0, distrust_s=0.05),
        stem_cells=(StemCells("python:3", 256, 2),),
        refill_pause_s=0.001,
        longest_refill_pause_s=0.01,
    )
    engine = make_engine(pool, EngineSettings(queue_length=JOBS, log_wait_ms=5), estimate)
    rig(engine, chance)
    completions: Counter[ActivationId] = Counter()
    futures: dict[ActivationId, Future[Activation]] = {}
    for n in range(JOBS):
        code = chance.choice([ECHO, ECHO, ECHO, RAISING, BROKEN])
        wanted = action(
            code, name=f"f{chance.randrange(6)}", memory_mb=chance.choice([128, 256, 512]), timeout_ms=60_000
        )
        job = invocation(wanted, {"n": n}, revision=hash((code, wanted.name, wanted.limits)))
        futures[job.activation_id] = engine.submit(job)
        futures[job.activation_id].add_done_callback(lambda future, id=job.activation_id: completions.update([id]))  # type: ignore[misc]
    answers = {id: future.result(WAIT_S) for id, future in futures.items()}
    engine.containers.before_start = lambda _: None
    engine.containers.before_post = lambda *_: None
    assert engine.run(invocation(action(name="afterwards"), {"n": 1})).response.status is Status.SUCCESS
    engine.close()

    assert set(completions.values()) == {1}
    assert all(answer.activation_id == id for id, answer in answers.items())
    records = [engine.store.written.get_nowait() for _ in range(engine.store.written.qsize())]
    assert Counter(record.activation_id for record in records).most_common(1)[0][1] == 1
    assert {record.activation_id: record.response for record in records if record.activation_id in answers} == {
        id: answer.response for id, answer in answers.items()
    }
    starts = Counter(start_of(answer) for answer in answers.values())
    print(starts)
    assert starts["transformed"] > 0, "no donor was taken"
    statuses = Counter(answer.response.status for answer in answers.values())
    assert set(statuses) == set(Status), "the faults were too rare to show anything"
