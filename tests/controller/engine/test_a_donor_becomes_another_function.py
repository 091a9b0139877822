"""A function without a container gets another's that is idle: with real threads, over the whole engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import NO_KEY, action, invocation
from worlds import offer

from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ContainerError
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.removal import Why
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import ContainerKey, Invocation
from instar_controller.whisk.parameters import Parameter
from instar_controller.whisk.response import Disconnected, Outcome, Replied, Status, TimedOut

C1, C2 = ContainerId("c1"), ContainerId("c2")

# Leaves lines behind, a forged end among them, that come out after its answer.
GARRULOUS = """
import threading
def main(args):
    def whisper():
        gate.wait(60)
        print("secret of the old one")
        print("XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX")
        print("more of it")
        reached.set()
    threading.Thread(target=whisper, daemon=True).start()
    return {}
"""
SPEAKING = "print('imported')\ndef main(args):\n    print('out', args['n'])\n    return args\n"


def name_of(key: ContainerKey) -> str:
    return key.action.rpartition("/")[2]


def by_plan(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    plans = {donor: Way(offer({"from": name_of(donor)}), 30) for donor in donors}
    return Estimates(warm_ms=20, prewarmed_ms=200, cold_ms=1500, plans=plans, wake_ms=0)


def by_a_wrong_plan(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    plans = {donor: Way(offer({"from": "something else"}), 30) for donor in donors}
    return Estimates(warm_ms=20, cold_ms=1500, plans=plans)


def by_loading(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    return Estimates(warm_ms=20, cold_ms=1500, reload_ms=90)


def settings(*, sharing: Sharing | None = None, patience: Patience | None = None) -> PoolSettings:
    return PoolSettings(sharing=sharing or Sharing(idle_threshold_s=0.0), patience=patience or Patience())


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """Containers are donors as soon as they are idle, and there is a plan for every pair."""
    return make_engine(settings(), estimate=by_plan)


def old(n: int = 0, *, code: str = SPEAKING, namespace: str = "guest") -> Invocation:
    return invocation(action(code, name="old"), {"n": n}, revision=1, namespace=namespace)


def new(n: int = 0, *, code: str = SPEAKING, name: str = "new") -> Invocation:
    return invocation(action(code, name=name), {"n": n}, revision=2)


def warm(engine: Engine, job: Invocation) -> Activation:
    """Run a job; its container is idle when this returns."""
    return engine.run_to_the_end(job)


def note(activation: Activation) -> dict[str, object]:
    assert activation.instar is not None
    return dict(activation.instar)


def on_transform(engine: Engine, outcome: Outcome) -> None:
    engine.containers.before_post = lambda _, path: outcome if path == "/transform" else None


def test_the_record_says_out_of_what_it_was_made_and_what_was_promised(engine: Engine) -> None:
    warm(engine, old())
    activation = engine.run(new(7))
    assert activation.response.result == {"n": 7}
    told = note(activation)
    measured = {key: told.pop(key) for key in ("actualMs", "initMs", "runMs")}
    assert told == {"start": "transformed", "from": "guest/old", "by": "plan", "estimatedMs": 30}
    assert all(isinstance(ms, int) and ms >= 0 for ms in measured.values())
    assert activation.init_time == measured["initMs"]
    assert engine.containers.begun.qsize() == 1


def test_the_container_is_warm_for_its_new_function_and_no_more_for_the_old(engine: Engine) -> None:
    warm(engine, old())
    warm(engine, new())
    assert start_of(warm(engine, new())) == "warm"
    assert note(warm(engine, old()))["from"] == "guest/new"


def test_without_a_plan_the_container_lets_go_and_loads(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(), estimate=by_loading)
    warm(engine, old())
    told = note(engine.run(new()))
    assert (told["start"], told["by"], told["estimatedMs"]) == ("transformed", "load", 90)


def test_the_record_says_what_the_container_says_that_it_did_and_the_servers_log_says_why(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    warm(engine, old())
    body = b'{"ok":true,"instar":{"how":"loaded","why":"step 3 failed"}}'
    on_transform(engine, Replied(200, body, len(body)))
    told = note(engine.run(new()))
    assert (told["by"], told["how"]) == ("plan", "loaded")
    assert "which was guest/old, is guest/new (loaded: step 3 failed)" in caplog.text


def test_a_donor_that_refuses_says_why_in_the_servers_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    warm(engine, old())
    on_transform(engine, Replied(409, b'{"error":"a run is under way"}', 30))
    assert start_of(engine.run(new())) == "cold"
    assert "stays guest/old" in caplog.text and "a run is under way" in caplog.text


def test_without_estimates_every_function_has_its_own_container(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings())
    assert [start_of(warm(engine, job)) for job in (old(), new(), old(), new())] == ["cold", "cold", "warm", "warm"]


def test_a_container_is_no_donor_before_its_time(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(sharing=Sharing()), estimate=by_plan)
    warm(engine, old())
    assert start_of(engine.run(new())) == "cold"


def test_its_log_has_nothing_of_the_old_function_and_its_own_import(engine: Engine) -> None:
    warm(engine, old(code=GARRULOUS))
    engine.gate.set()
    assert engine.reached.wait(WAIT_S)
    assert start_of(engine.run(new(1))) == "transformed"
    assert [line.split(" ", 1)[1].strip() for line in engine.record().logs] == ["stdout: imported", "stdout: out 1"]


def test_a_container_that_does_not_part_the_logs_shows_nobody_anything(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(), EngineSettings(log_wait_ms=1), estimate=by_plan)
    warm(engine, old(code=GARRULOUS))
    engine.gate.set()
    assert engine.reached.wait(WAIT_S)
    on_transform(engine, Replied(200, b"", 0))  # and no mark
    engine.run(new())
    assert not any("old" in line for line in engine.record().logs)
    assert engine.gone.get(timeout=WAIT_S)[0].reason.why is Why.LOG_LOST


def test_a_plan_that_does_not_fit_leaves_the_donor_to_its_function(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(), estimate=by_a_wrong_plan)
    warm(engine, old())
    assert start_of(warm(engine, new())) == "cold"
    assert start_of(warm(engine, old(3))) == "warm"
    assert engine.containers.removed.empty()


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Replied(500, b"{}", 2), Why.TRANSFORMATION_FAILED),
        (Replied(400, b"{}", 2), Why.TRANSFORMATION_FAILED),
        (Replied(401, b"{}", 2), Why.TRANSFORMATION_FAILED),
        (Replied(503, b"{}", 2), Why.UNREACHABLE),
        (Disconnected(), Why.DISCONNECTED),
        (TimedOut(60_000), Why.TIMED_OUT),
    ],
    ids=["500", "400", "401", "503", "disconnected", "timed out"],
)
def test_a_donor_that_fails_goes_and_the_job_is_answered_by_the_next_best(
    engine: Engine, outcome: Outcome, why: Why
) -> None:
    warm(engine, old())
    on_transform(engine, outcome)
    activation = engine.run(new(5))
    assert (activation.response.result, start_of(activation)) == ({"n": 5}, "cold")
    removed = engine.gone.get(timeout=WAIT_S)[0]
    assert (removed.container, removed.reason.why) == (C1, why)


def test_a_donor_that_dies_under_it_goes_and_the_job_is_answered_by_the_next_best(engine: Engine) -> None:
    warm(engine, old())

    def die(id: ContainerId, path: str) -> Outcome | None:
        if path == "/transform":
            engine.containers.threads.kill(id)
        return None

    engine.containers.before_post = die
    activation = engine.run(new(5))
    assert (activation.response.status, start_of(activation)) == (Status.SUCCESS, "cold")
    assert engine.gone.get(timeout=WAIT_S)[0].container == C1


def test_a_dead_donor_leaves_the_job_its_second_try(engine: Engine) -> None:
    warm(engine, old())
    shutting_down = Replied(503, b"{}", 2)
    left = ["/transform", "/init"]

    def refuse_each_once(_: ContainerId, path: str) -> Outcome | None:
        if path not in left:
            return None
        left.remove(path)
        return shutting_down

    engine.containers.before_post = refuse_each_once
    assert engine.run(new()).response.status is Status.SUCCESS
    assert left == []


def test_code_that_cannot_be_loaded_costs_one_donor_and_fails_as_it_would_have(engine: Engine) -> None:
    broken = "def main(args)\n"
    warm(engine, old())
    first = engine.run(new(code=broken))
    assert (first.response.status, start_of(first)) == (Status.DEVELOPER_ERROR, "cold")
    engine.containers.removed.get(timeout=WAIT_S)
    warm(engine, old())  # which has a container again
    engine.run(new(code=broken))
    assert start_of(engine.run(old())) == "warm"


def test_a_mistake_of_ours_costs_the_container_and_nobody_the_answer(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    warm(engine, old())

    def stumble(id: ContainerId, path: str) -> Outcome | None:
        if path == "/transform":
            raise ZeroDivisionError
        return None

    engine.containers.before_post = stumble
    assert engine.run(new()).response.status is Status.WHISK_ERROR
    assert engine.gone.get(timeout=WAIT_S)[0].reason.why is Why.OUR_MISTAKE
    assert "ZeroDivisionError" in caplog.text


def test_of_many_jobs_at_once_one_gets_the_donor(engine: Engine) -> None:
    warm(engine, old())
    transformed: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()

    def watch(id: ContainerId, path: str) -> Outcome | None:
        if path == "/transform" and id == C1:
            transformed.put(id)
            engine.gate.wait(WAIT_S)  # until all have been decided
        return None

    engine.containers.before_post = watch
    futures = []
    together = threading.Barrier(6)

    def call(n: int) -> None:
        together.wait(WAIT_S)
        futures.append(engine.submit(new(n, name=f"new{n}")))

    callers = [threading.Thread(target=call, args=(n,)) for n in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(WAIT_S)
    assert transformed.get(timeout=WAIT_S) == C1
    engine.gate.set()
    done = [future.result(WAIT_S) for future in futures]
    assert len(done) == 6 and {activation.response.status for activation in done} == {Status.SUCCESS}
    assert [note(activation).get("from") for activation in done].count("guest/old") == 1


def test_the_donors_own_function_called_meanwhile_is_not_hurt(engine: Engine) -> None:
    warm(engine, old())
    reached = threading.Event()

    def hold(id: ContainerId, path: str) -> Outcome | None:
        if path == "/transform" and id == C1:
            reached.set()
            engine.gate.wait(WAIT_S)
        return None

    engine.containers.before_post = hold
    taker = engine.submit(new(1))
    assert reached.wait(WAIT_S)
    own = engine.run(old(2))
    assert (own.response.result, start_of(own)) == ({"n": 2}, "cold")
    engine.gate.set()
    assert start_of(taker.result(WAIT_S)) == "transformed"


def test_a_donor_that_sleeps_is_woken_first(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(patience=Patience(pause_grace_s=0.0)), estimate=by_plan)
    engine.run(old())
    assert engine.sleeper() == C1
    woken: list[bool] = []
    engine.containers.before_post = lambda _, path: woken.append(not engine.containers.awake.empty())
    assert start_of(engine.run(new())) == "transformed"
    assert woken == [True, True]
    assert engine.containers.awake.qsize() == 1


def test_a_donor_that_cannot_be_woken_goes_and_the_job_goes_on(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(settings(patience=Patience(pause_grace_s=0.0)), estimate=by_plan)
    engine.run(old())
    engine.sleeper()

    def refuse(id: ContainerId) -> None:
        raise ContainerError("frozen stiff")

    engine.containers.before_resume = refuse
    assert start_of(engine.run(new())) == "cold"
    assert engine.gone.get(timeout=WAIT_S)[0].reason.why is Why.RESUME_FAILED


def test_its_weights_are_sent_for_before_the_transformation(engine: Engine) -> None:
    warm(engine, old())
    seen: list[tuple[str, int]] = []

    def watch(_: ContainerId, path: str) -> Outcome | None:
        seen.append((path, engine.weights.begun.qsize()))
        return None

    engine.containers.before_post = watch
    engine.run(new())
    assert seen == [("/transform", 2), ("/run", 2)]
    engine.record()
    assert all(delivery.is_closed for delivery in engine.weights.deliveries)


@pytest.mark.parametrize("who", ["donor", "taker"])
def test_an_annotation_keeps_an_action_out(engine: Engine, who: str) -> None:
    private = (*NO_KEY, Parameter("sharing", "none"))
    notes = {"donor": (private, NO_KEY), "taker": (NO_KEY, private)}[who]
    donor, taker = (action(name=name, annotations=given) for name, given in zip("ab", notes, strict=True))
    warm(engine, invocation(donor, revision=1))
    assert start_of(engine.run(invocation(taker, revision=2))) == "cold"


def test_another_namespaces_container_is_taken_only_where_the_operator_allows_it(
    make_engine: Callable[..., Engine],
) -> None:
    for across, start in ((False, "cold"), (True, "transformed")):
        sharing = Sharing(idle_threshold_s=0.0, share_across_namespaces=across)
        engine = make_engine(settings(sharing=sharing), estimate=by_plan)
        warm(engine, old(namespace="other"))
        told = note(engine.run(new()))
        assert told["start"] == start
        assert "from" not in told  # nobody learns what others call


def test_an_engine_closes_while_a_donor_is_transformed(engine: Engine) -> None:
    warm(engine, old())
    reached = threading.Event()

    def hold(_: ContainerId, path: str) -> Outcome | None:
        if path == "/transform":
            reached.set()
            engine.gate.wait(WAIT_S)
        return None

    engine.containers.before_post = hold
    future = engine.submit(new())
    assert reached.wait(WAIT_S)
    closer = threading.Thread(target=engine.invoker.close, kwargs={"drain_s": 0.0})
    closer.start()
    assert engine.containers.removed.get(timeout=WAIT_S) == C1
    engine.gate.set()
    assert future.result(WAIT_S).response.status is Status.WHISK_ERROR
    closer.join(WAIT_S)
    assert not closer.is_alive()
