"""The keeper over a real server that fails in every way: each record is stored once, and an end comes in time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from activations import activation, content, expected, id_of
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import Answer, Changed, CutAfter, CutBefore, CutWithin, Delay, Fault, FaultyProxy, Trickle

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.records import CouchRecords
from instar_controller.clients.spool import SET_ASIDE, Spool
from instar_controller.engines.keeper import Keeper
from instar_controller.errors import StoreError
from instar_controller.policies.keeping import (
    Answered,
    Kept,
    Patience,
    Record,
    Rejected,
    Stumbled,
    Unanswered,
    Unsettled,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

QUICK = Patience(interval_s=0.01, first_wait_s=0.01, longest_wait_s=0.05)
LIMIT_S = 1.0  # for a database that is too slow
WAIT_S = 60.0  # for all that is sure to happen


@pytest.fixture
def records(
    request: pytest.FixtureRequest, faulty_database: FaultyProxy, databases: Databases
) -> Iterator[CouchRecords]:
    """They wait for a slow database only for a moment, if it is that which the test is about."""
    callspec = getattr(request.node, "callspec", None)
    faults = [] if callspec is None else callspec.params.get("faults", [])
    timeout_s = LIMIT_S if any(isinstance(fault, Delay | Trickle) for fault in faults) else WAIT_S
    settings = CouchSettings(port=faulty_database.port, username=USERNAME, password=PASSWORD, timeout_s=timeout_s)
    with contextlib.closing(Connection(settings)) as connection:
        yield CouchRecords(Database(connection, databases.activations), SystemClock())


@pytest.fixture
def keeper(records: CouchRecords, tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(records, Spool(tmp_path), SystemClock(), patience=QUICK)
    made.start()
    yield made
    made.close(deadline_s=0)


def assert_stored(databases: Databases, count: int, *, but: frozenset[int] = frozenset()) -> None:
    """Exactly these records, each as it was put, and written once."""
    documents = databases.server.documents(databases.activations)
    assert {id: content(document) for id, document in documents.items()} == {
        id_of(number): expected(activation(number)) for number in range(count) if number not in but
    }
    assert all(document["_rev"].startswith("1-") for document in documents.values())


@pytest.mark.parametrize(
    "faults",
    [
        [Answer(503), Answer(500), Answer(502), Answer(504), Answer(429)],
        [Answer(507, "insufficient_storage", "no space left on device")],
        [Answer(401), Answer(403), Answer(404, "not_found", "no_db_file")],
        [CutBefore(), CutAfter(), CutWithin()],
        [Delay(60), Trickle(0.05)],
        [Answer(413), Answer(400)],
        [Answer(400, text="<html>a proxy's</html>"), Answer(200, text="<html>a wifi's</html>"), Answer(302, text="")],
        [Changed(None, lambda rows: [{"id": row["id"], "error": "timeout", "reason": "?"} for row in rows])],
        [Changed(None, lambda rows: rows[::2])],
        [Changed(None, lambda rows: rows[::-1])],
    ],
    ids=lambda faults: "+".join(f"{type(fault).__name__}{getattr(fault, 'status', '')}" for fault in faults),
)
def test_no_failure_loses_or_doubles_a_record(
    keeper: Keeper, faulty_database: FaultyProxy, databases: Databases, faults: list[Fault]
) -> None:
    faulty_database.on_next(*faults)
    for number in range(40):
        keeper.put_activation(activation(number))
        if number % 10 == 9:
            faulty_database.wait_for_requests(number // 10)
    keeper.close(deadline_s=WAIT_S)
    assert_stored(databases, 40)
    assert keeper.counts().set_aside == 0


def test_a_database_that_goes_and_comes_back_gets_everything(
    keeper: Keeper, faulty_database: FaultyProxy, databases: Databases
) -> None:
    for number in range(30):
        keeper.put_activation(activation(number))
        if number == 10:
            faulty_database.go_down()
        if number == 20:
            faulty_database.come_back()
    keeper.close(deadline_s=WAIT_S)
    assert_stored(databases, 30)


def test_what_a_database_that_is_down_did_not_get_is_written_by_the_next_process(
    keeper: Keeper, records: CouchRecords, faulty_database: FaultyProxy, databases: Databases, tmp_path: Path
) -> None:
    faulty_database.go_down()
    for number in range(30):
        keeper.put_activation(activation(number))
    keeper.close(deadline_s=0.2)
    keeper._thread.join(WAIT_S)  # it may have been about to ask once more
    faulty_database.come_back()
    assert_stored(databases, 0)
    following = Keeper(records, Spool(tmp_path), SystemClock(), patience=QUICK)
    following.start()
    following.close(deadline_s=WAIT_S)
    assert_stored(databases, 30)


def test_a_record_that_a_validation_forbids_is_set_aside_and_the_others_are_stored(
    keeper: Keeper, databases: Databases, tmp_path: Path
) -> None:
    rule = 'function (doc) { if (doc.start % 10 === 3) { throw({forbidden: "not this one"}); } }'
    databases.server.ask("PUT", f"{databases.activations}/_design/rule", {"validate_doc_update": rule})
    forbidden = frozenset(number for number in range(40) if activation(number).start % 10 == 3)
    for number in range(40):
        keeper.put_activation(activation(number))
    keeper.close(deadline_s=WAIT_S)
    assert_stored(databases, 40, but=forbidden)
    assert keeper.counts().set_aside == len(forbidden) == 4
    notes = (tmp_path / SET_ASIDE).read_text(encoding="utf-8")
    assert all(id_of(number) in notes for number in forbidden) and "not this one" in notes


def test_a_record_for_which_whole_batches_are_refused_is_set_aside(
    records: CouchRecords, databases: Databases, tmp_path: Path
) -> None:
    """The server refuses a whole bulk write with 400 for one id that begins with an underscore."""
    spool = Spool(tmp_path)
    spool.append(Record("_bad", b'{"_id":"_bad"}'))
    keeper = Keeper(records, spool, SystemClock(), patience=QUICK)
    for number in range(20):
        keeper.put_activation(activation(number))
    keeper.start()
    keeper.close(deadline_s=WAIT_S)
    assert_stored(databases, 20)
    assert keeper.counts().set_aside == 1


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (Answer(400, "bad_request"), Rejected),
        (Answer(400, text="<html>"), Unanswered),
        (Answer(413, text="<html>"), Rejected),
        (Answer(500), Stumbled),
        (Answer(503), Unanswered),
        (Answer(404, "not_found", "Database does not exist."), Unanswered),
        (CutAfter(), Unanswered),
    ],
)
def test_an_answer_is_understood(
    records: CouchRecords, faulty_database: FaultyProxy, fault: Fault, answer: type
) -> None:
    faulty_database.on_next(fault, fault)
    written = records.write([Record("a", b'{"_id":"a"}')])
    assert isinstance(written, answer)
    with pytest.raises(StoreError):
        records.put_activation(activation(1))


def test_what_is_said_of_each_record_is_seen(records: CouchRecords, faulty_database: FaultyProxy) -> None:
    rows = [
        {"id": "d", "error": "internal_server_error", "reason": "oops"},
        {"id": "c", "error": "forbidden", "reason": "no"},
        {"id": "a", "ok": True, "rev": "1-a"},
        {"id": "b", "error": "conflict", "reason": "Document update conflict"},
    ]
    faulty_database.on_next(Changed(None, lambda _: rows))
    written = records.write([Record(id, b'{"_id":"%b"}' % id.encode()) for id in "abcde"])
    assert isinstance(written, Answered)
    assert written.fates[:2] == [Kept(), Kept()]
    assert [str(getattr(fate, "reason", "")) for fate in written.fates[2:4]] == [
        "forbidden: no",
        "internal_server_error: oops",
    ]
    assert isinstance(written.fates[4], Unsettled) and "says nothing" in written.fates[4].reason


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from activations import activation
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.records import CouchRecords
from instar_controller.clients.spool import Spool
from instar_controller.engines.keeper import Keeper
username, password, name, folder, port, begin = sys.argv[2:]
connection = Connection(CouchSettings(port=int(port), username=username, password=password))
keeper = Keeper(CouchRecords(Database(connection, name), SystemClock()), Spool(Path(folder)), SystemClock())
keeper.start()
for number in range(int(begin), int(begin) + 100_000):
    keeper.put_activation(activation(number))
    print(number, flush=True)
"""


def test_a_kill_loses_no_record_that_was_taken(
    records: CouchRecords, faulty_database: FaultyProxy, databases: Databases, tmp_path: Path
) -> None:
    begin = 0
    for life in range(3):
        if life == 1:
            faulty_database.on_next(Answer(503), CutAfter(), Answer(500), CutWithin())
        arguments = [USERNAME, PASSWORD, databases.activations, str(tmp_path), str(faulty_database.port), str(begin)]
        command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= begin + 150 * (life + 1):
                    process.kill()
                    break
            said = [int(line) for line in process.stdout.read().split("\n")[:-1]]
        begin = (said[-1] if said else int(line)) + 1
    following = Keeper(records, Spool(tmp_path), SystemClock(), patience=QUICK)
    following.start()
    following.close(deadline_s=WAIT_S)
    # The one that was being put when the process was killed may be there or not.
    documents = databases.server.documents(databases.activations)
    assert {id_of(number) for number in range(begin)} <= set(documents) <= {id_of(n) for n in range(begin + 1)}
    assert all(document["_rev"].startswith("1-") for document in documents.values())
