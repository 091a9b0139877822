"""The times of an activation record: OpenWhisk's rules, with the numbers of recorded activations."""

from __future__ import annotations

from jobs import action, invocation

from instar_controller.engines import records
from instar_controller.engines.records import Course, Interval, Origin
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.response import Response, Status

FINE = Response(Status.SUCCESS, {"ok": True}, 11)
ARRIVAL = 1_000_000


def record(course: Course) -> Activation:
    return records.activation(invocation(received_ms=ARRIVAL), course, FINE, now_ms=ARRIVAL + 9_999)


def test_a_warm_run_counts_from_its_run_and_has_no_init_time() -> None:
    activation = record(Course(run=Interval(ARRIVAL + 20, ARRIVAL + 23), start="warm"))
    assert (activation.start, activation.end, activation.duration) == (ARRIVAL + 20, ARRIVAL + 23, 3)
    assert (activation.wait_time, activation.init_time) == (20, None)
    assert activation.instar == {"start": "warm", "runMs": 3}


def test_a_cold_run_counts_the_init_too_but_not_what_lies_between() -> None:
    course = Course(
        init=Interval(ARRIVAL + 398, ARRIVAL + 610),
        run=Interval(ARRIVAL + 612, ARRIVAL + 3615),
        start="cold",
        boot_ms=300,
        timed_out=True,
    )
    activation = record(course)
    assert (activation.start, activation.end, activation.duration) == (ARRIVAL + 400, ARRIVAL + 3615, 3215)
    assert (activation.wait_time, activation.init_time, activation.timeout) == (398, 212, True)
    assert activation.instar == {"start": "cold", "bootMs": 300, "initMs": 212, "runMs": 3003}


def test_a_failed_init_is_all_there_is_to_count() -> None:
    activation = record(Course(init=Interval(ARRIVAL + 284, ARRIVAL + 416), start="prewarmed"))
    assert (activation.start, activation.end, activation.duration) == (ARRIVAL + 284, ARRIVAL + 416, 132)
    assert (activation.wait_time, activation.init_time) == (284, 132)


def test_a_job_without_a_container_lasted_no_time() -> None:
    activation = record(Course())
    assert (activation.start, activation.end, activation.duration) == (ARRIVAL + 9_999, ARRIVAL + 9_999, 0)
    assert (activation.wait_time, activation.init_time, activation.instar) == (9_999, None, None)


def test_a_clock_that_is_set_back_gives_no_negative_times() -> None:
    activation = record(Course(run=Interval(ARRIVAL - 50, ARRIVAL - 60), start="warm"))
    assert (activation.wait_time, activation.duration) == (0, 0)


def test_the_record_names_the_action_by_its_path_and_the_caller_by_its_namespace() -> None:
    foreign = invocation(action(name="classify", package="ml"), namespace="other")
    activation = records.activation(foreign, Course(), FINE, now_ms=0)
    assert (activation.namespace, activation.subject, activation.path) == ("other", "other", "guest/ml/classify")
    assert activation.limits == {"timeout": 60_000, "memory": 256, "logs": 10, "concurrency": 1}


def test_a_transformed_start_counts_its_transformation_and_tells_estimate_and_truth() -> None:
    course = Course(
        init=Interval(ARRIVAL + 30, ARRIVAL + 42),
        run=Interval(ARRIVAL + 42, ARRIVAL + 62),
        start="transformed",
        origin=Origin("guest/old", is_planned=True, how="transformed", estimated_ms=27.6, begun_ms=ARRIVAL + 22),
    )
    activation = record(course)
    assert (activation.wait_time, activation.init_time, activation.duration) == (30, 12, 32)
    assert activation.instar == {
        "start": "transformed",
        "from": "guest/old",
        "by": "plan",
        "how": "transformed",
        "estimatedMs": 28,
        "actualMs": 40,
        "initMs": 12,
        "runMs": 20,
    }


def test_where_the_container_came_from_is_told_to_nobody_else() -> None:
    course = Course(start="transformed", origin=Origin(None, is_planned=False, how=None, estimated_ms=90, begun_ms=0))
    assert record(course).instar == {"start": "transformed", "by": "load", "estimatedMs": 90}
