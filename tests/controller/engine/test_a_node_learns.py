"""A node from its first call on, over simulated minutes: what it has seen decides what becomes of the next job."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from worlds import job, offer

from instar_controller.engines.experience import Experience
from instar_controller.engines.orders import Command, Pause, Remove, Run, Start, StartKind, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.policies.estimates import PlanOffer
from instar_controller.policies.idle import Patience
from instar_controller.policies.observations import (
    After,
    Booted,
    Initialised,
    Observation,
    Ran,
    Slept,
    Transformed,
    Unable,
    Woken,
)
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import ContainerKey

KIND, MEMORY_MB = "python:3", 256
PLAN = offer("a plan", transform_ms=1, load_ms=11)


@dataclass
class World:
    """A node whose every step takes what is written here, in milliseconds."""

    boot_ms: float = 1500
    init_ms: float = 60
    transform_ms: float = 15
    run_ms: float = 20
    first_run_ms: float = 35
    sleep_ms: float = 30
    wake_ms: float = 8
    has_plans: bool = True
    is_able: bool = True
    stem_cells: int = 0
    pause_grace_s: float | None = None
    now_s: float = 0.0
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.experience = Experience(self, now_s=lambda: self.now_s)
        settings = PoolSettings(
            patience=Patience(pause_grace_s=self.pause_grace_s),
            stem_cells=(StemCells(KIND, MEMORY_MB, self.stem_cells),),
        )
        self.scheduler = Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"), self.experience.estimate)
        self.starts: list[str] = []
        self.asked = 0  # donors
        self._obey(self.scheduler.tick(self.now_s))

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        return PLAN if self.has_plans else None

    def call(self, name: str, *, after_s: float = 1.0) -> str:
        """How it started."""
        self._pass_time(after_s)
        self._obey(self.scheduler.submit(Work(ActivationId(str(next(self.ids))), job(name)), self.now_s))
        return self.starts[-1]

    def _pass_time(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while (wake_s := self.scheduler.wake_s()) is not None and wake_s <= until_s:
            self.now_s = wake_s
            self._obey(self.scheduler.tick(self.now_s))
        self.now_s = until_s

    def _take(self, seen: Observation) -> None:
        assert not isinstance(seen, Unable)
        self.now_s += seen.ms / 1000
        self.experience.learn(seen)

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(id):
                    self._take(Booted(KIND, self.boot_ms))
                    self._obey(self.scheduler.came_up(id, self.now_s))
                case Run():
                    self._run(command)
                case Pause(id):
                    self._take(Slept(KIND, self.sleep_ms))
                    self._obey(self.scheduler.paused(id, self.now_s))
                case Remove(id):
                    self._obey(self.scheduler.removed(id, self.now_s))

    def _run(self, run: Run) -> None:
        if run.is_paused:
            self._take(Woken(KIND, self.wake_ms))
        action = run.work.job.key.action
        match run.start:
            case StartKind.WARM:
                after, run_ms = After.RUN, self.run_ms
            case StartKind.COLD | StartKind.PREWARMED:
                self._take(Initialised(KIND, action, self.init_ms))
                after, run_ms = After.INIT, self.first_run_ms
            case StartKind.TRANSFORMED:
                assert run.transformation is not None
                self.asked += 1
                if not self.is_able:
                    self.experience.learn(Unable(KIND))
                    self._obey(self.scheduler.untouched(run.container, run.work, self.now_s))
                    return
                given = run.transformation.offer
                self._take(Transformed(KIND, action, self.transform_ms, given))
                self.scheduler.transformed(run.container, run.work, self.now_s)
                after, run_ms = (After.LOAD, self.first_run_ms) if given is None else (After.PLAN, self.run_ms)
        self.starts.append(run.start.value)
        self._take(Ran(KIND, action, run_ms, after))
        self.scheduler.answered(run.container, self.now_s)
        self._obey(self.scheduler.collected(run.container, self.now_s))


def test_the_first_container_that_idles_for_a_minute_is_taken_by_the_next_function() -> None:
    world = World()
    assert [world.call("a"), world.call("a"), world.call("b")] == ["cold", "warm", "cold"]
    assert world.call("c", after_s=61) == "transformed"
    assert world.call("c") == "warm"


def test_functions_called_in_turn_by_the_minute_never_boot_again() -> None:
    world = World()
    starts = [world.call(name, after_s=61) for name in "abcd" * 5]
    assert starts == ["cold"] + ["transformed"] * 19


def test_a_donor_is_better_than_a_stem_cell_where_there_is_a_plan() -> None:
    world = World(stem_cells=1)
    assert [world.call("a"), world.call("b", after_s=61)] == ["prewarmed", "transformed"]


def test_a_stem_cell_is_better_than_a_donor_that_has_to_load() -> None:
    world = World(stem_cells=1, has_plans=False)
    assert [world.call("a"), world.call("a")] == ["prewarmed", "warm"]
    assert world.call("b", after_s=61) == "prewarmed"


def test_a_donor_that_has_to_load_is_better_than_a_boot() -> None:
    world = World(has_plans=False)
    assert [world.call("a"), world.call("b", after_s=61)] == ["cold", "transformed"]


def test_donors_that_sleep_are_woken_before_any_was_ever_woken() -> None:
    world = World(pause_grace_s=10.0)
    assert [world.call("a"), world.call("b", after_s=61)] == ["cold", "transformed"]


def test_where_waking_takes_longer_than_a_stem_cell_takes_donors_are_left_asleep() -> None:
    world = World(pause_grace_s=10.0, sleep_ms=5000, wake_ms=5000, stem_cells=1)
    assert [world.call("a"), world.call("b", after_s=61)] == ["prewarmed", "prewarmed"]


def test_where_transformations_disappoint_stem_cells_are_used_again_but_for_a_try_now_and_then() -> None:
    world = World(transform_ms=900, stem_cells=1)
    names = (f"f{number}" for number in itertools.count())
    starts = [world.call(next(names), after_s=61) for _ in range(10)]
    assert starts == ["prewarmed"] + ["transformed"] * 3 + ["prewarmed"] * 6
    world.call("a", after_s=600)
    assert world.call("b", after_s=61) == "transformed"


def test_containers_that_cannot_be_transformed_are_asked_once() -> None:
    world = World(is_able=False)
    for name, asked in (("a", 0), ("b", 1), ("c", 1)):
        assert world.call(name, after_s=61) == "cold"
        assert world.asked == asked
