"""The database fails `instar invoker` in every way it can: each activation has one completion and one record.

What goes wrong is put between the program and a real server (`faulty_proxy`): at its bulk writes, which are of
records and of nothing else, or at all of it.
"""

from __future__ import annotations

import functools
import json
import operator
import signal
from collections.abc import Iterable, Iterator

import pytest
from clusters import Cluster
from faulty_proxy import Answer, CutAfter, CutBefore, CutWithin, FaultyProxy, Held, Limited
from programs import RunningProgram
from whisk_controllers import Sent

from instar_controller.clients.spool import SET_ASIDE

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

RECORDS = "_bulk_docs"
PATIENT = {"INSTAR_FENCE": "60", "INSTAR_DEAD": "120"}  # nobody is given up, however slow the machine
TALKATIVE = "def main(args):\n    print('x' * args['bytes'])\n    return {}\n"


@pytest.fixture(autouse=True)
def passable(faulty_database: FaultyProxy) -> Iterator[None]:
    """The way is free before a program is ended by its fixture, which waits for that."""
    yield
    faulty_database.go_down()


def begin(cluster: Cluster, proxy: FaultyProxy) -> RunningProgram:
    return cluster.invoker(CONFIG_whisk_couchdb_port=str(proxy.port))


def run(cluster: Cluster, revision: str, count: int) -> list[Sent]:
    """Run the action so often; every one of them is completed."""
    sent = [cluster.controller.invoke("guest/echo", {"n": n}, revision=revision) for n in range(count)]
    for n, each in enumerate(sent):
        cluster.controller.completion(each)
        assert each.response == (0, {"n": n})
    return sent


def end(cluster: Cluster, program: RunningProgram, sent: Iterable[Sent]) -> None:
    """It ends well, and everything sent has one completion and one record, written once."""
    assert program.end(signal.SIGTERM) == 0
    is_written_once(cluster, sent)


def is_written_once(cluster: Cluster, sent: Iterable[Sent]) -> None:
    records = cluster.records()
    assert set(records) == {each.id for each in sent}
    assert all(record["_rev"].startswith("1-") for record in records.values())
    assert all(len(each.completions) == len(each.results) == 1 for each in sent)


def test_whatever_becomes_of_a_write_it_is_written_again_until_it_is_there(
    cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    revision = cluster.put("guest/echo")
    earlier = {"_id": f"guest/{'a' * 32}", "activationId": "a" * 32, "entityType": "activation", "is": "as it was"}
    cluster.databases.server.put(cluster.databases.activations, earlier)
    invoker = begin(cluster, faulty_database)
    faulty_database.on_next(Answer(500), Answer(503), CutBefore(), CutAfter(), CutWithin(), path=RECORDS)
    there_already = cluster.controller.invoke("guest/echo", revision=revision, id="a" * 32)
    cluster.controller.completion(there_already)
    sent = [there_already, *run(cluster, revision, 5)]
    invoker.wait_for_metric(lambda kept: kept == 6, "instar_records", fate="kept")
    # Who takes a record counts it after it was handed on.
    invoker.wait_for_metric(lambda taken: taken == 6, "instar_records", fate="taken")
    assert invoker.metric("instar_records_in_hand") == invoker.metric("instar_records_spool_bytes") == 0
    end(cluster, invoker, sent)
    assert cluster.records()["a" * 32]["is"] == "as it was"


def test_nobody_waits_for_a_database_that_is_slow(cluster: Cluster, faulty_database: FaultyProxy) -> None:
    revision = cluster.put("guest/echo")
    invoker = begin(cluster, faulty_database)
    slow = Held()
    with faulty_database.from_now_on(slow, path=RECORDS):  # a second try, too, if this takes that long
        sent = run(cluster, revision, 1)
        faulty_database.wait_for_requests(1, path=RECORDS)
        sent += run(cluster, revision, 5)  # are answered, although nothing of the first one is written
        assert cluster.records() == {}
        assert invoker.metric("instar_records_in_hand") == 1
        slow.until.set()
    invoker.wait_for_metric(lambda kept: kept == 6, "instar_records", fate="kept")
    end(cluster, invoker, sent)


def test_a_record_beyond_the_databases_limit_is_set_aside_and_holds_nothing_up(
    cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    revision, talkative = cluster.put("guest/echo"), cluster.put("guest/talkative", TALKATIVE)
    invoker = begin(cluster, faulty_database)
    with faulty_database.from_now_on(Limited(100_000), path=RECORDS):
        large = cluster.controller.invoke("guest/talkative", {"bytes": 200_000}, revision=talkative)
        cluster.controller.completion(large)
        sent: list[Sent] = []
        while invoker.metric("instar_records", fate="set aside") != 1:  # others show that it is to blame
            sent += run(cluster, revision, 1)
            invoker.wait_for_metric(functools.partial(operator.eq, len(sent)), "instar_records", fate="kept")
        end(cluster, invoker, sent)
    (line,) = (cluster.state("invoker0") / "spool" / SET_ASIDE).read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert (found["id"], found["record"]["activationId"]) == (f"guest/{large.id}", large.id)
    assert "413" in found["reason"] and "max_http_request_size" in found["reason"]
    assert len(large.completions) == 1


def test_while_the_database_is_away_what_is_known_runs_and_the_rest_is_answered(
    cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    revision, unknown = cluster.put("guest/echo"), cluster.put("guest/unknown")
    invoker = begin(cluster, faulty_database)
    sent = run(cluster, revision, 1)
    faulty_database.go_down()
    sent += run(cluster, revision, 3)
    failed = cluster.controller.invoke("guest/unknown", revision=unknown)
    assert cluster.controller.completion(failed).message["isSystemError"] is True
    assert failed.response == (3, {"error": "Action could not be fetched."})
    invoker.wait_for_metric(lambda value: value == 0, "instar_up", what="database")
    status, said = invoker.ask("/readyz")
    assert status == 503 and "CouchDB at" in said
    assert invoker.ask("/livez") == (200, "ok")
    faulty_database.come_back()
    invoker.wait_for_metric(lambda kept: kept == 5, "instar_records", fate="kept")
    again = cluster.controller.invoke("guest/unknown", {"a": 1}, revision=unknown)
    assert cluster.controller.result(again) == {"a": 1}
    cluster.controller.completion(again)
    end(cluster, invoker, [*sent, failed, again])


def test_a_kill_in_the_middle_of_an_outage_loses_nothing(cluster: Cluster, faulty_database: FaultyProxy) -> None:
    revision = cluster.put("guest/echo")
    first = begin(cluster, faulty_database)
    sent = run(cluster, revision, 1)
    first.wait_for_metric(lambda kept: kept == 1, "instar_records", fate="kept")
    faulty_database.go_down()
    sent += run(cluster, revision, 5)
    first.wait_for_metric(lambda taken: taken == 6, "instar_records", fate="taken")
    first.end(signal.SIGKILL)
    late = [cluster.controller.invoke("guest/echo", {"late": n}, revision=revision) for n in range(3)]
    second = cluster.begin_invoker(CONFIG_whisk_couchdb_port=str(faulty_database.port))
    while second.event("waiting")["for"] != "the database":  # the bus is waited for first, if it is slow
        pass
    assert not any(each.acks for each in late)
    faulty_database.come_back()
    second.event("working")
    for each in late:
        cluster.controller.completion(each)
    second.wait_for_metric(lambda _: len(cluster.records()) == 9, "instar_records", fate="kept")
    end(cluster, second, [*sent, *late])


def test_what_was_written_but_never_confirmed_is_found_by_the_next_life(
    cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    revision = cluster.put("guest/echo")
    first = begin(cluster, faulty_database)
    faulty_database.on_next(CutAfter(), path=RECORDS)
    with faulty_database.from_now_on(CutBefore(), path=RECORDS):
        sent = run(cluster, revision, 1)
        faulty_database.wait_for_requests(2, path=RECORDS)  # the second try: the first one's answer was lost
        assert set(cluster.records()) == {sent[0].id}
        assert first.metric("instar_records", fate="kept") == 0
        first.end(signal.SIGKILL)
    second = begin(cluster, faulty_database)
    second.wait_for_metric(lambda kept: kept == 1, "instar_records", fate="kept")
    end(cluster, second, sent)


def test_behind_a_dispatcher_nodes_keep_their_records_too(cluster: Cluster, faulty_database: FaultyProxy) -> None:
    revision = cluster.put("guest/echo")
    port = str(faulty_database.port)
    dispatcher = cluster.dispatcher(CONFIG_whisk_couchdb_port=port, **PATIENT)
    node = cluster.node("node-a", CONFIG_whisk_couchdb_port=port, **PATIENT)
    sent = run(cluster, revision, 1)
    faulty_database.go_down()
    sent += run(cluster, revision, 4)
    node.wait_for_metric(lambda taken: taken == 5, "instar_records", fate="taken")
    faulty_database.come_back()
    node.wait_for_metric(lambda kept: kept == 5, "instar_records", fate="kept")
    assert node.end(signal.SIGTERM) == 0
    assert dispatcher.end(signal.SIGTERM) == 0
    is_written_once(cluster, sent)
