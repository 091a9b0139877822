"""What a failing CouchDB comes to: one of our errors, in time, without a secret in it, and nothing is stuck."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from couches import action
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import Answer, CutAfter, CutBefore, CutWithin, Delay, FaultyProxy, Trickle

from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.couch.subjects import CouchSubjects
from instar_controller.errors import ConflictError, NotFoundError, SettingsError, StoreError

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

LIMIT_S = 0.5  # for a database that is too slow
WAIT_S = 60.0  # for all others


def connected(proxy: FaultyProxy, limit_s: float, password: str = PASSWORD) -> contextlib.closing[Connection]:
    settings = CouchSettings(
        port=proxy.port, username=USERNAME, password=password, timeout_s=limit_s, connect_timeout_s=limit_s
    )
    return contextlib.closing(Connection(settings))


@pytest.fixture
def connection(faulty_database: FaultyProxy) -> Iterator[Connection]:
    with connected(faulty_database, WAIT_S) as made:
        yield made


@pytest.fixture
def entities(connection: Connection, databases: Databases) -> CouchEntities:
    databases.server.put(databases.entities, action("guest/f"))
    return CouchEntities(Database(connection, databases.entities))


@pytest.fixture
def impatient(faulty_database: FaultyProxy, databases: Databases) -> Iterator[CouchEntities]:
    databases.server.put(databases.entities, action("guest/f"))
    with connected(faulty_database, LIMIT_S) as made:
        yield CouchEntities(Database(made, databases.entities))


def reading(entities: CouchEntities) -> list[Callable[[], object]]:
    return [
        lambda: entities.get("guest/f"),
        lambda: entities.attachment("guest/f", "code"),
        lambda: entities.changes("0", timeout_s=0, most=10),
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504, 507])
def test_any_refusal_is_ours(entities: CouchEntities, faulty_database: FaultyProxy, status: int) -> None:
    for read in reading(entities):
        faulty_database.on_next(Answer(status, reason="no luck today"))
        with pytest.raises(StoreError, match=f"answered {status} .no luck today.; "):
            read()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, text="<html>Welcome to the wifi</html>"),
        Answer(200, text="[1, 2]"),
        Answer(200, text='{"a": NaN}'),
        Answer(200, text="[" * 100_000),
        Answer(404, text="<html>nobody here</html>"),
        Answer(302, text=""),
        Answer(200, text='{"results": [{"id": 1}], "last_seq": 1}'),
        Answer(200, text='{"results": 7}'),
    ],
)
def test_nonsense_is_no_answer(entities: CouchEntities, faulty_database: FaultyProxy, answer: Answer) -> None:
    faulty_database.on_next(answer)
    with pytest.raises(StoreError):
        entities.changes("0", timeout_s=0, most=10)


@pytest.mark.parametrize("fault", [Delay(60), Trickle(0.05)])
def test_a_slow_database_is_given_up_in_time(
    impatient: CouchEntities, faulty_database: FaultyProxy, fault: Delay | Trickle
) -> None:
    for read in reading(impatient):
        faulty_database.on_next(fault)
        begun = time.monotonic()
        with pytest.raises(StoreError, match=f"not within {LIMIT_S} s"):
            read()
        assert LIMIT_S <= time.monotonic() - begun < fault_s(fault)
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            assert impatient.get("guest/f")["name"] == "f"
            break
        except StoreError:  # which it may be, by itself, on a machine that others use, too
            assert time.monotonic() < deadline


def fault_s(fault: Delay | Trickle) -> float:
    """How long it lasts: a trickle has no end."""
    return fault.seconds if isinstance(fault, Delay) else math.inf


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), CutWithin()])
def test_a_read_whose_connection_breaks_is_tried_once_more(
    entities: CouchEntities, faulty_database: FaultyProxy, fault: CutBefore | CutAfter | CutWithin
) -> None:
    faulty_database.on_next(fault)
    assert entities.get("guest/f")["name"] == "f"
    faulty_database.on_next(fault, fault)
    with pytest.raises(StoreError, match="is it up"):
        entities.get("guest/f")


def test_a_write_whose_connection_breaks_is_not_repeated(
    connection: Connection, databases: Databases, faulty_database: FaultyProxy
) -> None:
    database = Database(connection, databases.entities)
    faulty_database.on_next(CutAfter())
    with pytest.raises(StoreError):
        database.put("guest/g", action("guest/g"))
    assert len(faulty_database.requests) == 1
    with pytest.raises(ConflictError, match="guest/g"):
        database.put("guest/g", action("guest/g"))


def test_a_database_that_is_down_is_told_at_once_and_is_used_again_when_it_is_back(
    entities: CouchEntities, faulty_database: FaultyProxy
) -> None:
    assert entities.get("guest/f")["name"] == "f"
    faulty_database.go_down()
    for read in reading(entities):
        with pytest.raises(StoreError, match="refused"):
            read()
    faulty_database.come_back()
    assert entities.get("guest/f")["name"] == "f"


def test_a_poll_ends_with_an_error_when_the_database_goes(
    entities: CouchEntities, faulty_database: FaultyProxy
) -> None:
    since = entities.changes("now", timeout_s=0, most=1).next
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(entities.changes, since, timeout_s=2 * WAIT_S, most=1)
        faulty_database.wait_for_requests(1, path="longpoll")
        faulty_database.go_down()
        with pytest.raises(StoreError):
            poll.result(WAIT_S)


def test_a_missing_database_is_a_fault_and_not_a_missing_document(connection: Connection) -> None:
    entities = CouchEntities(Database(connection, "nobody_made_this"))
    for read in reading(entities):
        with pytest.raises(StoreError, match="nobody_made_this") as caught:
            read()
        assert not isinstance(caught.value, NotFoundError)
        assert "initialise it" in str(caught.value)


def test_a_missing_view_is_a_fault(connection: Connection, databases: Databases) -> None:
    subjects = CouchSubjects(Database(connection, databases.entities))
    with pytest.raises(StoreError, match="namespaceThrottlings/blockedNamespaces: there is no such view"):
        subjects.blocked(["guest"])


def test_no_secret_is_told(
    faulty_database: FaultyProxy, databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "wr0ng-but-secret"
    told = []
    for fault in (None, Answer(500), CutBefore(), Delay(60)):
        with connected(faulty_database, LIMIT_S if isinstance(fault, Delay) else WAIT_S, secret) as connection:
            entities = CouchEntities(Database(connection, databases.entities))
            told += [repr(connection.settings), repr(connection)]
            if fault is not None:
                faulty_database.on_next(fault, fault)
            with pytest.raises(StoreError) as caught:
                entities.get("guest/f")
            told.append(repr(caught.value))
    assert "401" in told[2] and "password" in told[2]
    told.append(caplog.text)
    assert secret not in "".join(told)
    assert "Basic" not in "".join(told)


def test_a_wrong_address_is_told_at_start() -> None:
    with pytest.raises(SettingsError, match="'ftp'"):
        CouchSettings(protocol="ftp")
    with pytest.raises(SettingsError, match="70000"):
        CouchSettings(port=70000)
    with (
        contextlib.closing(Connection(CouchSettings(host="no-such-host.invalid"))) as connection,
        pytest.raises(StoreError, match=r"no-such-host\.invalid"),
    ):
        Database(connection, "x").get("y")


def test_many_threads_share_a_connection(databases: Databases) -> None:
    contents = {f"guest/{number}": f"code {number}" for number in range(16)}
    for id, code in contents.items():
        databases.server.put(databases.entities, action(id, code))
    start = threading.Barrier(16)
    settings = CouchSettings(
        port=databases.server.port, username=USERNAME, password=PASSWORD, connections=4, timeout_s=WAIT_S
    )

    def read(entities: CouchEntities, id: str) -> set[object]:
        start.wait(WAIT_S)
        return {json.dumps(entities.get(id)["exec"]) for _ in range(5)}

    with contextlib.closing(Connection(settings)) as connection, ThreadPoolExecutor(16) as pool:
        entities = CouchEntities(Database(connection, databases.entities))
        reads = {id: pool.submit(read, entities, id) for id in contents}
        for id, done in reads.items():
            assert done.result(WAIT_S) == {json.dumps(action(id, contents[id])["exec"])}


def test_the_credentials_are_sent(databases: Databases) -> None:
    security = {"members": {"names": [USERNAME], "roles": []}, "admins": {"names": [USERNAME], "roles": []}}
    databases.server.ask("PUT", f"{databases.entities}/_security", security)
    anonymous = CouchSettings(port=databases.server.port)
    named = CouchSettings(port=databases.server.port, username=USERNAME, password=PASSWORD)
    with contextlib.closing(Connection(anonymous)) as connection, pytest.raises(StoreError, match="401"):
        Database(connection, databases.entities).get("guest/f")
    with contextlib.closing(Connection(named)) as connection, pytest.raises(NotFoundError):
        Database(connection, databases.entities).get("guest/f")
