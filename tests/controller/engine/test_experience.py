"""What a node learns of the ways to a container, and how soon it believes it."""

from __future__ import annotations

import threading
from dataclasses import replace

from worlds import function, job, offer

from instar_controller.engines import experience
from instar_controller.engines.experience import Experience
from instar_controller.policies.estimates import UNKNOWN, Estimates, PlanOffer
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
from instar_controller.whisk.invocation import ContainerKey

KIND = "python:3"
OLD, NEW = function("old"), function("new")
PLAN = offer("a plan", transform_ms=2, load_ms=12)


class KnownPlans:
    """Every function has one, and it is known who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[ContainerKey, ContainerKey]] = []

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        self.asked.append((donor, job))
        return PLAN


def learned(*observations: Observation, plans: KnownPlans | None = None) -> Experience:
    made = Experience(plans or KnownPlans())
    for observation in observations:
        made.learn(observation)
    return made


def of(known: Experience, name: str = "new", *, donors: tuple[ContainerKey, ...] = (OLD,)) -> Estimates:
    return known.estimate(job(name), donors)


def initialised(ms: float, name: str = "old") -> Initialised:
    return Initialised(KIND, f"guest/{name}", ms)


def ran(ms: float, name: str = "old", *, after: After = After.RUN) -> Ran:
    return Ran(KIND, f"guest/{name}", ms, after)


def transformed(ms: float, name: str = "new", *, by: PlanOffer | None = PLAN) -> Transformed:
    return Transformed(KIND, f"guest/{name}", ms, by)


def test_a_node_that_has_seen_nothing_knows_nothing() -> None:
    assert of(learned()) == UNKNOWN


def test_what_was_seen_of_another_kind_says_nothing() -> None:
    known = learned(Booted("nodejs:20", 300), Initialised("nodejs:20", "guest/x", 50))
    assert of(known) == UNKNOWN


def test_one_start_and_one_warm_run_are_enough_for_a_first_donor() -> None:
    seen = [Booted(KIND, 1500), initialised(100), ran(50, after=After.INIT), ran(20)]
    assert of(learned(*seen[:1])).plans == {}
    assert of(learned(*seen[:2])).plans == {}
    told = of(learned(*seen))
    assert told.cold_ms == 1500 + 100 + 20 + 30
    assert told.prewarmed_ms == 100 + 20 + 30
    assert told.plans[OLD].ms == (100 - 12) + 2 + 20


def test_an_outlier_moves_nothing() -> None:
    known = learned(*(ran(ms) for ms in (20, 21, 9000, 19, 20)))
    assert of(known, "old").warm_ms == 20


def test_what_has_changed_is_believed_after_three_times() -> None:
    known = learned(*(ran(20) for _ in range(100)))
    for ms, believed in ((80, 20), (80, 20), (80, 80)):
        known.learn(ran(ms))
        assert of(known, "old").warm_ms == believed


def test_what_a_transformation_took_replaces_the_guess() -> None:
    known = learned(initialised(100), ran(20), transformed(9), ran(26, "new", after=After.PLAN))
    assert of(known).plans[OLD].ms == (9 - 2) + 2 + 26


def test_what_a_transformation_took_corrects_the_guess_for_others() -> None:
    known = learned(initialised(100), ran(20))
    assert of(known, "third").plans[OLD].ms == (100 - 12) + 2 + 20
    known.learn(transformed(9))
    assert of(known, "third").plans[OLD].ms == 9 + 20


def is_donor_sooner(known: Experience, name: str = "new") -> bool:
    told = of(known, name)
    assert told.prewarmed_ms is not None
    return told.plans[OLD].ms < told.prewarmed_ms


def test_after_three_transformations_that_disappoint_none_is_chosen_any_more_for_anybody() -> None:
    known = learned(initialised(100), ran(20))
    for chosen in (True, True, False):
        known.learn(transformed(900))
        assert (is_donor_sooner(known), is_donor_sooner(known, "third")) == (chosen, chosen)


def test_ten_minutes_later_it_is_tried_again() -> None:
    now_s = [1000.0]
    known = Experience(KnownPlans(), now_s=lambda: now_s[0])
    for observation in (initialised(100), ran(20), *[transformed(900)] * 5):
        known.learn(observation)
    for at_s, chosen in ((1000.0, False), (1599.0, False), (1600.0, True)):
        now_s[0] = at_s
        assert is_donor_sooner(known) is chosen
    known.learn(transformed(9))
    assert of(known).plans[OLD].ms == (100 - 12) + 2 + 20  # the guess still: most of what was seen is worse
    for _ in range(2):
        known.learn(transformed(9))
    assert of(known).plans[OLD].ms == 9 + 20


def test_a_load_in_a_donor_is_learned_apart() -> None:
    known = learned(initialised(100), ran(20), transformed(70, by=None))
    told = of(known)
    assert told.reload_ms == 70 + 20
    assert told.plans[OLD].ms == (100 - 12) + 2 + 20
    assert of(known, "third").reload_ms == (100 - 30) + 20


def test_a_first_run_is_held_against_the_next_one_of_its_function() -> None:
    known = learned(initialised(100), ran(50, after=After.INIT), ran(500, "other"), ran(20), ran(1))
    told = of(known, "nobody")
    assert told.prewarmed_ms is not None and told.warm_ms is not None
    assert told.prewarmed_ms - told.warm_ms == 100 + 30


def test_pauses_and_wakings_are_learned_by_kind() -> None:
    known = learned(Slept(KIND, 30), Slept("nodejs:20", 99))
    assert of(known).wake_ms == 30
    known.learn(Woken(KIND, 8))
    assert of(known).wake_ms == 8


def test_a_kind_that_cannot_be_transformed_has_no_donors_any_more() -> None:
    known = learned(initialised(100), ran(20), Unable(KIND))
    told = of(known)
    assert (told.reload_ms, told.plans) == (None, {})
    assert told.prewarmed_ms == 120


def test_plans_are_asked_for_only_between_functions_that_belong_together() -> None:
    plans = KnownPlans()
    known = learned(initialised(100), ran(20), plans=plans)
    foreign = function("old", namespace="other")
    others = ContainerKey("guest", "other/old", 1, ())
    told = of(known, donors=(foreign, others, OLD))
    assert plans.asked == [(OLD, NEW)]
    assert list(told.plans) == [OLD] and told.reload_ms == 120


def test_the_function_that_was_longest_not_heard_of_is_forgotten_first() -> None:
    known = learned(ran(20, "kept"), ran(30, "lost"))
    for number in range(experience.FUNCTIONS - 2):
        known.learn(ran(5, f"f{number}"))
    known.learn(ran(20, "kept"))
    known.learn(ran(5, "one more"))
    assert of(known, "kept").warm_ms == 20
    assert of(known, "lost").warm_ms == 5


def test_a_new_version_of_an_action_is_expected_to_take_what_the_last_one_took() -> None:
    known = learned(ran(20, "new"))
    newer = replace(job("new"), key=function("new", revision=7))
    assert known.estimate(newer, ()).warm_ms == 20


def test_many_threads_may_learn_and_ask_at_once() -> None:
    known = learned(initialised(100))
    together = threading.Barrier(5)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        together.wait(60)
        try:
            for turn in range(200):
                known.learn(ran(20, f"f{number}-{turn}"))
                of(known, f"f{number}-{turn}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert of(known).prewarmed_ms == 120
