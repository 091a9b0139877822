"""What Prometheus reads: made of finished activations, and of what is asked for in the moment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from instar_controller.clients.metrics import Metrics
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.values import Json


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((name, frozenset(labels.items())))


def finished(
    note: Mapping[str, Json] | None, status: Status = Status.SUCCESS, init_ms: int | None = None, wait_ms: int = 40
) -> Activation:
    return Activation(
        activation_id=ActivationId("0" * 32), namespace="guest", name="a", version="0.0.1", subject="guest",
        start=1, end=2, duration=1, response=Response(status, {}), path="guest/a", kind="python:3", limits=None,
        timeout=False, wait_time=wait_ms, init_time=init_ms, instar=note,
    )  # fmt: skip


def test_activations_are_counted_by_how_they_ended(metrics: Metrics) -> None:
    for status in (Status.SUCCESS, Status.SUCCESS, Status.WHISK_ERROR):
        metrics.finished(finished(None, status))
    assert value(metrics, "instar_activations_total", status="success") == 2
    assert value(metrics, "instar_activations_total", status="whisk internal error") == 1


def test_starts_are_counted_by_kind_with_their_times(metrics: Metrics) -> None:
    metrics.finished(finished({"start": "warm", "runMs": 3}))
    metrics.finished(finished({"start": "cold", "runMs": 30, "initMs": 200}, init_ms=200, wait_ms=700))
    assert value(metrics, "instar_starts_total", start="warm") == 1
    assert value(metrics, "instar_starts_total", start="cold") == 1
    assert value(metrics, "instar_run_seconds_sum") == pytest.approx(0.033)
    assert value(metrics, "instar_init_seconds_count") == 1
    assert value(metrics, "instar_wait_seconds_bucket", le="0.05") == 1
    assert value(metrics, "instar_wait_seconds_bucket", le="1.0") == 2


def test_plans_and_weights_are_told(metrics: Metrics) -> None:
    note: dict[str, Json] = {"start": "transformed", "by": "plan", "how": "transformed", "runMs": 1}
    metrics.finished(finished({**note, "weights": {"presentBytes": 1000, "fetchedBytes": 24, "waitedMs": 1}}))
    assert value(metrics, "instar_transformations_total", by="plan", how="transformed") == 1
    assert value(metrics, "instar_weights_bytes_total", where="fetched") == 24
    assert value(metrics, "instar_weights_bytes_total", where="present") == 1000


def test_what_a_container_makes_up_is_not_believed(metrics: Metrics) -> None:
    metrics.finished(finished({"start": "warm", "runMs": "soon", "weights": {"fetchedBytes": True}}))
    assert value(metrics, "instar_run_seconds_count") == 0
    assert value(metrics, "instar_weights_bytes_total", where="fetched") == 0


def test_acks_messages_and_removals_are_counted(metrics: Metrics) -> None:
    metrics.sent("combined")
    metrics.not_sent("combined")
    metrics.read("malformed")
    metrics.removed("idle")
    metrics.reached("answered", 0.002)
    assert value(metrics, "instar_acks_total", kind="combined", fate="sent") == 1
    assert value(metrics, "instar_acks_total", kind="combined", fate="failed") == 1
    assert value(metrics, "instar_messages_total", fate="malformed") == 1
    assert value(metrics, "instar_containers_removed_total", why="idle") == 1
    assert value(metrics, "instar_stage_seconds_bucket", stage="answered", le="0.0025") == 1


def test_the_state_of_a_moment_is_asked_for_when_somebody_reads(metrics: Metrics) -> None:
    states = {"ready": 1.0}
    metrics.watch_each("instar_containers", "Containers, by state.", "state", lambda: states)
    metrics.watch("instar_records_waiting", "Records that are not stored yet.", lambda: len(states))
    assert value(metrics, "instar_containers", state="ready") == 1
    states |= {"ready": 0.0, "paused": 2.0}
    assert value(metrics, "instar_containers", state="paused") == 2
    assert value(metrics, "instar_containers", state="ready") == 0
    assert value(metrics, "instar_records_waiting") == 2


def test_what_only_grows_is_a_counter(metrics: Metrics) -> None:
    metrics.count_each("instar_pairs_total", "Pairs.", "outcome", lambda: {"plan": 3.0})
    metrics.count("instar_planning_seconds_total", "Seconds.", lambda: 0.5)
    assert value(metrics, "instar_pairs_total", outcome="plan") == 3
    assert value(metrics, "instar_planning_seconds_total") == 0.5
    assert "# TYPE instar_pairs_total counter" in metrics.exposition().decode()


def test_what_cannot_be_told_now_hides_nothing_else(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        raise RuntimeError("gone")

    metrics.watch("instar_broken", "Cannot be told.", broken)
    metrics.read("run")
    assert value(metrics, "instar_broken") is None
    assert value(metrics, "instar_messages_total", fate="run") == 1
    assert "instar_broken cannot be told" in caplog.text


@pytest.fixture
def counted(metrics: Metrics) -> Iterator[logging.Logger]:
    noisy = logging.getLogger("instar_controller.noisy")
    handler = metrics.count_log()
    noisy.addHandler(handler)
    yield noisy
    noisy.removeHandler(handler)


def test_warnings_and_errors_in_the_log_are_counted(metrics: Metrics, counted: logging.Logger) -> None:
    counted.info("nothing")
    counted.warning("something")
    counted.error("more")
    assert value(metrics, "instar_log_messages_total", level="warning", logger=counted.name) == 1
    assert value(metrics, "instar_log_messages_total", level="error", logger=counted.name) == 1
    assert value(metrics, "instar_log_messages_total", level="info", logger=counted.name) is None


def test_the_process_itself_is_told_of(metrics: Metrics) -> None:
    assert (value(metrics, "process_resident_memory_bytes") or 0) > 0
