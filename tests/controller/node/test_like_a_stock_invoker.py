"""Held to the recordings: each activation message of a stock controller leads to what a stock invoker made of it.

Fed are the messages as they were sent, in their order, and the actions' documents at their revisions; containers
answer and write as the recorded ones did, and are warm or not as those were. Compared are the bodies of `/init` and
`/run`, the acknowledgements, the event, and the record. What may differ is named here, once: times and durations,
what Instar adds to records (`instar`), and the order in which an invoker's two messages came (in 63 of 2,334 pairs
the stock one's came the other way round).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from invoker_recordings import Case, RecordedEntities, load
from replayed_containers import ReplayedContainers
from rigs import ANSWERS, EVENTS, INSTANCE, WAIT_S, WORK, Cluster, Counting, WatchedRecords

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory import MemoryWeights
from instar_controller.engines.acknowledging import AckTopics
from instar_controller.engines.blacklist import Blacklist
from instar_controller.engines.fetching import Actions
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.invoker import EngineSettings, Invoker
from instar_controller.engines.node import Node, NodeSettings
from instar_controller.engines.preparing import Preparation
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.engines.sources import InvokerSource
from instar_controller.whisk import acks, manifest, stored_activation
from instar_controller.whisk.acks import Ack
from instar_controller.whisk.limits import Limits

ANY = "<any>"
EXACT = 1 << 53  # the largest whole number up to which a double tells all apart
TIMES = frozenset({"start", "end", "duration", "waitTime", "initTime", "timestamp", "updated"})
OURS = frozenset({"instar"})
OF_DATABASE = frozenset({"_rev"})
DEADLINES = frozenset({"deadline", "__OW_DEADLINE"})
STOCK_NAMES = {
    "ResultMessage": "ResultMessage",
    "CompletionMessage": "CompletionMessage",
    "CombinedMessage": "CombinedCompletionAndResultMessage",
}

MANIFEST = manifest.parse(
    {
        "runtimes": {
            "nodejs": [{"kind": "nodejs:20", "default": True, "image": {"name": "nodejs"}}],
            "python": [{"kind": "python:3", "default": True, "image": {"name": "python"}}],
            "pytorch": [{"kind": "pytorch:2", "default": True, "image": {"name": "pytorch"}}],
        }
    }
)
CASES = load()


@dataclass(frozen=True)
class Seen:
    """What our node made of all messages, by activation."""

    acks: Mapping[str, list[Ack]]
    events: Mapping[str, Any]
    records: Mapping[str, Any]
    asked: Mapping[str, list[tuple[str, Any]]]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    cluster = Cluster()
    clock = SystemClock()
    containers = ReplayedContainers(CASES)
    records = WatchedRecords(cluster.activations)
    engine = Invoker(
        containers,
        records,
        clock,
        MemoryWeights(),
        pool=PoolSettings(memory_mb=1 << 20),
        settings=EngineSettings(),
    )
    blacklist = Blacklist(cluster.subjects)
    preparation = Preparation(
        Actions(RecordedEntities(), MANIFEST), blacklist, clock, limits=Limits(), keys={}, runs_health_tests=True
    )
    node = Node(
        cluster.bus,
        InvokerSource(WORK, INSTANCE),
        preparation,
        engine,
        records,
        clock,
        Counting(),
        AckTopics(lambda name: f"completed{name}", EVENTS),
        NodeSettings(IntakeSettings(poll_s=0.05)),
    )
    blacklist.start()
    engine.start()
    node.start()
    for count, case in enumerate(CASES, start=1):
        if case.began_cold:
            containers.end_all_of(case.action)
        cluster.bus.send(WORK, case.message.encode())
        cluster.bus.wait_for(EVENTS, count, timeout_s=WAIT_S)
        records.wait_for(count)
    node.close(drain_s=WAIT_S)
    blacklist.close()
    answers = [acks.parse(value) for value in cluster.bus.sent(ANSWERS)]
    events = [json.loads(value) for value in cluster.bus.sent(EVENTS)]
    yield Seen(
        acks={case.id: [ack for ack in answers if ack.activation_id == case.id] for case in CASES},
        events={event["body"]["activationId"]: event for event in events},
        records={
            record.activation_id: stored_activation.document(record, updated_ms=0)
            for record in records.wait_for(len(CASES))
        },
        asked=containers.asked,
    )


def test_everything_that_was_recorded_is_looked_at() -> None:
    assert len(CASES) == 52
    assert all(case.acks for case in CASES)
    assert sum(case.event is not None for case in CASES) == 47
    assert sum(case.record is not None for case in CASES) == 46
    assert sum(len(case.exchanges) for case in CASES) == 77


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_controller_is_told_the_same(case: Case, seen: Seen) -> None:
    ours = [(STOCK_NAMES[type(ack).__name__], normal(ack.to_json())) for ack in seen.acks[case.id]]
    recorded = [(name, None if ack is None else normal(ack)) for name, ack in case.acks]
    by_name = sorted(ours, key=lambda item: item[0])
    for (our_name, our_ack), (their_name, their_ack) in zip(
        by_name, sorted(recorded, key=lambda item: item[0]), strict=True
    ):
        assert our_name == their_name
        if their_ack is not None:
            assert our_ack == their_ack
    names = [name for name, _ in ours]
    assert names == sorted(names, reverse=True), "the result comes before the completion"


@pytest.mark.parametrize("case", [case for case in CASES if case.event], ids=str)
def test_the_event_says_the_same(case: Case, seen: Seen) -> None:
    assert normal(seen.events[case.id]) == normal(case.event)


@pytest.mark.parametrize("case", [case for case in CASES if case.record], ids=str)
def test_the_record_says_the_same(case: Case, seen: Seen) -> None:
    assert as_in_javascript(normal(seen.records[case.id])) == as_in_javascript(normal(case.record))


@pytest.mark.parametrize("case", [case for case in CASES if case.exchanges], ids=str)
def test_the_container_is_asked_the_same(case: Case, seen: Seen) -> None:
    ours = seen.asked[case.id]
    for exchange in case.exchanges:
        (sent,) = (body for path, body in ours if path == exchange.path)
        if exchange.body is not None:
            assert normal(sent) == normal(exchange.body)
    if not case.is_cut:
        assert [path for path, _ in ours] == [exchange.path for exchange in case.exchanges]


@pytest.mark.parametrize("case", [case for case in CASES if case.is_cut], ids=str)
def test_a_long_result_has_the_recorded_length(case: Case, seen: Seen) -> None:
    """What was cut of the recording says how long it was, and how the text begins."""
    entries = json.loads(json.dumps([ack.to_json() for ack in seen.acks[case.id]]))
    (response,) = (entry["response"]["response"] for entry in entries if "response" in entry)
    length = 2_000_012 if "larger" in case.label else 1_048_012
    assert response["size"] == length
    if "larger" in case.label:
        assert response["statusCode"] == 1
        told = "The action produced a response that exceeded the allowed length: 2000012 > 1048576 bytes. "
        assert response["result"]["error"].startswith(f'{told}The truncated response was: {{"big": "xxx')
        assert len(response["result"]["error"]) == len(f"{told}The truncated response was: ") + 1_048_576
    else:
        assert response["result"] == {"big": "x" * 1_048_000}


def normal(value: Any) -> Any:
    """`value` with everything replaced that may differ, and annotations by their key: they have no order."""
    match value:
        case Mapping():
            kept = {key: item for key, item in value.items() if key not in OF_DATABASE}
            return {key: ANY if key in TIMES | DEADLINES else _normal_field(key, item) for key, item in kept.items()}
        case list():
            return [normal(item) for item in value]
        case _:
            return value


def _normal_field(key: str, value: Any) -> Any:
    if key == "annotations":
        return {
            note["key"]: ANY if note["key"] in TIMES else note["value"] for note in value if note["key"] not in OURS
        }
    if key == "logs" and isinstance(value, list):
        return [_normal_line(line) for line in value]
    if key in ("content", "value", "result", "transid"):  # a user's own, or to be echoed: nothing in there may differ
        return normal_value(value)
    return normal(value)


def as_in_javascript(value: Any) -> Any:
    """The database of the recordings was written in it, and its numbers are as exact as that."""
    match value:
        case Mapping():
            return {key: as_in_javascript(item) for key, item in value.items()}
        case list():
            return [as_in_javascript(item) for item in value]
        case int() if abs(value) > EXACT:
            return float(value)
        case _:
            return value


def normal_value(value: Any) -> Any:
    """The value of a body has a deadline in its environment; everything else is compared as it is."""
    if isinstance(value, Mapping) and isinstance(value.get("env"), Mapping):
        return {**value, "env": {key: ANY if key in DEADLINES else item for key, item in value["env"].items()}}
    return value


def _normal_line(line: str) -> str:
    """What a container wrote is to be in the record with its very time; the invoker's own remarks have another."""
    missing = "The action did not initialize or run as expected. Log data might be missing."
    return f"{ANY} stderr: {missing}" if line.endswith(f"stderr: {missing}") else line
