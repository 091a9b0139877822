"""Which action runs, and what is answered where there is none: OpenWhisk's own words and numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from rigs import ECHO, MANIFEST, WAIT_S, Cluster, Life, kinds_of

from instar_controller.clients.memory_couch import MemoryEntities, Trouble
from instar_controller.engines.fetching import Actions, Fetched, Unfetched
from instar_controller.whisk.acks import CombinedMessage
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.wire_activation import WireActivation


def refusal(cluster: Cluster, node: Life, id: str) -> tuple[int, object]:
    """What its caller was told of an activation that came to nothing, once all that is owed was checked."""
    (record,) = [record for record in node.written.wait_for(1) if record.activation_id == id]
    (ack,) = [ack for ack in cluster.answers() if ack.activation_id == id]
    assert isinstance(ack, CombinedMessage) and isinstance(ack.response, WireActivation)
    response = ack.response.response
    assert record.response == response
    assert ack.is_system_error is (response.status == 3)
    assert (record.duration, record.start, record.kind) == (0, record.end, "unknown")
    assert {note["key"] for note in record.annotations} == {"path", "kind"}
    assert response.size is None
    return int(response.status), response.result


def test_an_action_that_is_not_there(cluster: Cluster, node: Life) -> None:
    id = cluster.send("nosuch")
    assert refusal(cluster, node, id) == (1, {"error": "Action could not be found or may have been deleted."})


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "cobol:1"),
        ({"exec": {"kind": "python:3"}}, "python:3"),
        ({"limits": "none"}, "python:3"),
        ({"entityType": "package"}, "python:3"),
        (
            {
                "exec": {
                    "kind": "python:3",
                    "binary": False,
                    "code": {"attachmentName": "mem:%%", "attachmentType": "t"},
                }
            },
            "",
        ),
    ],
)
def test_a_document_that_cannot_be_run(cluster: Cluster, node: Life, more: JsonObject, kind: str) -> None:
    cluster.put_action(kind=kind, more=more)
    id = cluster.send()
    assert refusal(cluster, node, id) == (3, {"error": "Action version is not compatible and cannot be invoked."})


def test_a_sequence_is_no_action_to_run(cluster: Cluster, node: Life) -> None:
    cluster.put_action(more={"exec": {"kind": "sequence", "components": ["/guest/a"]}})
    id = cluster.send()
    assert refusal(cluster, node, id) == (3, {"error": "Action could not be fetched."})


def test_a_database_that_does_not_answer(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.whisks.faults.go_down()
    id = cluster.send()
    assert refusal(cluster, node, id) == (3, {"error": "Action could not be fetched."})
    cluster.whisks.faults.come_back()
    again = cluster.send()
    node.written.wait_for(2)
    assert kinds_of(cluster.answers(), again) == ["ResultMessage", "CompletionMessage"]


def test_an_action_above_the_limits(cluster: Cluster, node: Life) -> None:
    cluster.put_action(memory_mb=1024)
    id = cluster.send()
    status, result = refusal(cluster, node, id)
    assert (status, result) == (1, {"error": "memory size 1024 MB exceeds allowed threshold of 512 MB"})


def test_an_action_above_its_callers_own_limits(cluster: Cluster, node: Life) -> None:
    cluster.put_action(memory_mb=512)
    namespace: Json = {"name": "guest", "uuid": "u"}
    user: Json = {"subject": "guest", "namespace": namespace, "authkey": {}, "limits": {"maxActionMemory": 256}}
    id = cluster.send(user=user)
    assert refusal(cluster, node, id)[1] == {"error": "memory size 512 MB exceeds allowed threshold of 256 MB"}


def test_an_action_that_allows_many_calls_at_once_runs_them_one_by_one(cluster: Cluster, node: Life) -> None:
    cluster.put_action(concurrency=5)
    cluster.send(content={"n": 1})
    assert node.written.wait_for(1)[0].response.result == {"n": 1}


@pytest.mark.parametrize("ahead_ms", [300_000, -300_000])
def test_a_controller_whose_clock_is_off_is_served_all_the_same(cluster: Cluster, node: Life, ahead_ms: int) -> None:
    cluster.put_action()
    begun_s = time.monotonic()
    id = cluster.send(transid=["a", time.time_ns() // 1_000_000 + ahead_ms])
    (record,) = node.written.wait_for(1)
    took_ms = (time.monotonic() - begun_s) * 1000
    assert record.response.status == 0
    assert (record.wait_time == 0) is (ahead_ms > 0)
    assert record.wait_time <= 300_000 + took_ms + 1000  # which two clocks tell
    assert kinds_of(cluster.answers(), id) == ["ResultMessage", "CompletionMessage"]


def test_whoever_does_not_wait_gets_the_id_alone(cluster: Cluster, node: Life) -> None:
    id = cluster.send("nosuch", blocking=False)
    (ack,) = cluster.wait_for_answers(1)
    assert isinstance(ack, CombinedMessage) and ack.response == id


def test_a_revision_that_has_gone_gives_the_latest(cluster: Cluster, node: Life) -> None:
    old = cluster.put_action()
    cluster.put_action(code="def main(args):\n    return {'version': 2}\n")
    cluster.send(revision=old)
    (record,) = node.written.wait_for(1)
    assert record.response.result == {"version": 2}


def test_no_revision_means_the_latest_and_not_what_was_kept(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.send()
    node.written.wait_for(1)
    cluster.put_action(code="def main(args):\n    return {'version': 2}\n")
    cluster.send(revision=None)
    assert node.written.wait_for(2)[1].response.result == {"version": 2}


def test_code_beside_the_document(cluster: Cluster, node: Life) -> None:
    code = {"attachmentName": "couch:6f0c", "attachmentType": "text/plain; charset=UTF-8"}
    revision = cluster.put_action(code=code)
    cluster.whisks.put_attachment("guest/f", "6f0c", ECHO.encode(), revision=revision, content_type="text/plain")
    cluster.send(content={"n": 1})
    (record,) = node.written.wait_for(1)
    assert record.response.result == {"n": 1}


# The cache.


def fetched(found: Fetched | Unfetched | None) -> Fetched:
    assert isinstance(found, Fetched), found
    return found


def test_an_action_is_read_once(cluster: Cluster) -> None:
    revision = cluster.put_action()
    actions = Actions(MemoryEntities(cluster.whisks), MANIFEST)
    assert actions.known("guest/f", revision) is None
    first = actions.fetch("guest/f", revision)
    cluster.whisks.faults.go_down()
    assert actions.fetch("guest/f", revision) is first is actions.known("guest/f", revision)
    assert actions.known("guest/f", "2-another") is None
    assert actions.known("guest/f", None) is None


def test_those_who_want_it_at_the_same_time_read_it_once(cluster: Cluster) -> None:
    revision = cluster.put_action()
    actions = Actions(MemoryEntities(cluster.whisks), MANIFEST)
    with ThreadPoolExecutor(8) as hands:
        with cluster.whisks.faults.held():
            reading = [hands.submit(actions.fetch, "guest/f", revision) for _ in range(8)]
            cluster.whisks.faults.wait_for_calls(1)
        found = {id(future.result(WAIT_S)) for future in reading}
    assert len(found) == 1
    assert cluster.whisks.faults.calls == 1


def test_a_failed_read_is_not_kept(cluster: Cluster) -> None:
    revision = cluster.put_action()
    actions = Actions(MemoryEntities(cluster.whisks), MANIFEST)
    cluster.whisks.faults.on_next(Trouble.REFUSED)
    assert isinstance(actions.fetch("guest/f", revision), Unfetched)
    assert isinstance(actions.fetch("guest/f", revision), Fetched)


def test_no_more_is_kept_than_there_is_room_for(cluster: Cluster) -> None:
    code = f"{ECHO}#{'x' * 10_000}"
    revisions = {name: cluster.put_action(name, code=code) for name in ("a", "b", "c")}
    actions = Actions(MemoryEntities(cluster.whisks), MANIFEST, max_bytes=30_000)
    for name in ("a", "b"):
        actions.fetch(f"guest/{name}", revisions[name])
    assert actions.known("guest/a", revisions["a"]) is not None  # used last, so it stays
    actions.fetch("guest/c", revisions["c"])
    kept = [name for name, revision in revisions.items() if actions.known(f"guest/{name}", revision)]
    assert kept == ["a", "c"]


def test_an_update_takes_the_place_of_what_it_replaces(cluster: Cluster) -> None:
    actions = Actions(MemoryEntities(cluster.whisks), MANIFEST)
    for _ in range(100):
        revision = cluster.put_action(code=f"{ECHO}#{'x' * 10_000}")
        actions.fetch("guest/f", revision)
    assert repr(actions).startswith("<Actions: 1 kept")
    assert fetched(actions.known("guest/f", revision)).size_bytes < 20_000


def test_work_that_is_known_does_not_wait_for_work_that_is_not(
    cluster: Cluster, make_node: Callable[..., Life]
) -> None:
    node = make_node()
    cluster.put_action("known")
    cluster.put_action("unknown")
    cluster.send("known")
    node.written.wait_for(1)
    with cluster.whisks.faults.held():
        slow = cluster.send("unknown")
        cluster.whisks.faults.wait_for_calls(2)
        quick = cluster.send("known")
        assert node.written.wait_for(2)[1].activation_id == quick
    assert {record.activation_id for record in node.written.wait_for(3)} >= {slow, quick}
