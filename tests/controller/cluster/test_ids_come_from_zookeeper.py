"""Programs that were told a name only: their number is the one that ZooKeeper has for it, as a stock invoker's is."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from clusters import Cluster
from zookeepers import ZooKeeper

from instar_controller import beginning, cluster_settings
from instar_controller.clients import zookeeper as client
from instar_controller.cluster_parts import Stopped, Stopping
from instar_controller.cluster_settings import NumberingSettings, OperationsSettings
from instar_controller.engines import numbering
from instar_controller.errors import SettingsError, StoreError
from instar_controller.notices import Notice, Waiting
from instar_controller.operations import OperationsServer
from instar_controller.policies import numbering as policy
from instar_controller.variables import Program
from instar_controller.whisk import invoker_numbers

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # a Java machine may be long in coming

WAIT_S = 60.0


def assign(place: str, name: str, *, overwrite: int | None = None) -> int:
    """As a program does it, until ZooKeeper answers."""
    while True:
        try:
            with client.numbers(place) as numbers:
                return numbering.assign(name, numbers, overwrite=overwrite)
        except StoreError:  # it was slow; so may a program's first attempt fail
            continue


def kept(zookeeper: ZooKeeper, place: str) -> tuple[int, dict[str, bytes]]:
    """The count, and what is there for each name, byte by byte."""
    with zookeeper.client(place) as one:
        count = invoker_numbers.decode_count(one.get(invoker_numbers.COUNTER)[0])
        names = one.get_children(invoker_numbers.MAPPING)
        return count, {name: one.get(f"{invoker_numbers.MAPPING}/{name}")[0] for name in names}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who asks by himself, and once: however busy the machine is, there is an answer."""
    monkeypatch.setattr(client, "CONNECT_S", WAIT_S)
    monkeypatch.setattr(client, "ANSWER_S", WAIT_S)
    monkeypatch.setattr(client, "SESSION_S", WAIT_S)


def test_each_name_gets_a_number_of_its_own_for_ever(zookeeper: ZooKeeper, place: str) -> None:
    assert [assign(place, name) for name in ("a", "b", "a", "c", "b")] == [0, 1, 0, 2, 1]
    assert kept(zookeeper, place) == (3, {"a": b"\x00", "b": b"\x01", "c": b"\x02"})


def test_numbers_outlive_zookeepers_end(zookeeper: ZooKeeper, place: str) -> None:
    assert [assign(place, name) for name in ("a", "b")] == [0, 1]
    zookeeper.kill()
    zookeeper.restart()
    assert [assign(place, name) for name in ("b", "c")] == [1, 2]


@pytest.mark.usefixtures("patient")
def test_a_path_that_is_not_there_is_told(place: str) -> None:
    with pytest.raises(StoreError, match=r"has no /t\w+/more; make it, or leave"), client.numbers(f"{place}/more"):
        pytest.fail("there is no such path")


def test_many_that_start_at_once_get_one_each(zookeeper: ZooKeeper, place: str) -> None:
    names = [f"invoker-{n}" for n in range(8)]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        numbers = list(pool.map(lambda name: assign(place, name), names))
    assert sorted(numbers) == list(range(len(names)))
    count, entries = kept(zookeeper, place)
    assert count == len(names)
    assert {name: invoker_numbers.decode(data) for name, data in entries.items()} == dict(
        zip(names, numbers, strict=True)
    )


def test_what_stock_invokers_have_written_is_gone_by(zookeeper: ZooKeeper, place: str) -> None:
    with zookeeper.client(place) as stock:  # in the order and in the bytes of Curator and Scala's `BigInt`
        stock.ensure_path(invoker_numbers.MAPPING)
        stock.create(invoker_numbers.COUNTER, b"\x00\x00\x00\x00")
        stock.set(invoker_numbers.COUNTER, b"\x00\x00\x00\x01", version=0)
        stock.create(f"{invoker_numbers.MAPPING}/stock", b"\x00")
    assert [assign(place, name) for name in ("ours", "stock")] == [1, 0]
    with zookeeper.client(place) as stock:  # a further one counts on, from the version that we have left
        data, state = stock.get(invoker_numbers.COUNTER)
        assert (data, state.version) == (b"\x00\x00\x00\x02", 2)
        stock.set(invoker_numbers.COUNTER, b"\x00\x00\x00\x03", version=2)
        stock.create(f"{invoker_numbers.MAPPING}/other", b"\x02")
    assert assign(place, "third") == 3


@pytest.mark.usefixtures("patient")
def test_whoever_waits_for_a_name_learns_of_it(zookeeper: ZooKeeper, place: str) -> None:
    """If nobody told it, it would wait for longer than a test may take."""
    with zookeeper.client(place) as stock, client.numbers(place) as numbers:
        assert numbers.read().numbers == {}
        stock.create(f"{invoker_numbers.MAPPING}/stock", b"\x00")
        numbers.wait_for_names(600.0)
        assert numbers.read().numbers == {"stock": 0}


@pytest.mark.usefixtures("patient")
def test_what_was_decided_from_what_is_past_is_not_written(zookeeper: ZooKeeper, place: str) -> None:
    with client.numbers(place) as numbers:
        entry = policy.decide("late", numbers.read())
        assert isinstance(entry, policy.Entry)
        assert assign(place, "early") == 0
        assert not numbers.write(entry)
    assert kept(zookeeper, place) == (1, {"early": b"\x00"})


def test_a_number_given_by_hand_is_taken_from_its_owner(zookeeper: ZooKeeper, place: str) -> None:
    assert [assign(place, name) for name in ("a", "b")] == [0, 1]
    assert assign(place, "b", overwrite=0) == 0
    assert kept(zookeeper, place) == (1, {"b": b"\x00"})
    assert [assign(place, name) for name in ("a", "b")] == [1, 0]
    with pytest.raises(SettingsError, match="knows 2 invokers; give a number from 0 to 2"):
        assign(place, "c", overwrite=3)


def test_bad_data_is_told_with_the_way_out(zookeeper: ZooKeeper, place: str) -> None:
    assert assign(place, "a") == 0
    with zookeeper.client(place) as one:
        one.set(f"{invoker_numbers.MAPPING}/a", b"no number")
    with pytest.raises(SettingsError, match=r"for the invoker 'a' is no number; give it one .* --overwriteId N"):
        assign(place, "a")
    assert assign(place, "b") == 1
    assert assign(place, "a", overwrite=0) == 0
    with zookeeper.client(place) as one:
        one.set(invoker_numbers.COUNTER, b"two")
    with pytest.raises(SettingsError, match=r"/invokers/idAssignment/counter .* no count .* remove it"):
        assign(place, "c")


def test_zookeeper_that_is_away_or_stands_still_is_told_within_a_limit(
    zookeeper: ZooKeeper, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.5)
    monkeypatch.setattr(client, "SESSION_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = "{}:{}".format(*deaf.getsockname())
        with pytest.raises(StoreError, match=f"no ZooKeeper answers at {address}"), client.numbers(address):
            pytest.fail("nobody has answered")
    with pytest.raises(StoreError, match=f"no ZooKeeper answers at {address}"), client.numbers(address):
        pytest.fail("nobody is there")
    zookeeper.pause()
    try:
        with pytest.raises(StoreError, match=f"no ZooKeeper answers at {place}"), client.numbers(place):
            pytest.fail("it stands still")
    finally:
        zookeeper.resume()
    monkeypatch.undo()
    assert assign(place, "a") == 0


@pytest.fixture
def server() -> Iterator[OperationsServer]:
    with contextlib.closing(OperationsServer(OperationsSettings(port=0))) as made:
        yield made


class Signal(Stopping):
    """One that a test sends."""

    def __init__(self) -> None:
        self._has_come = threading.Event()
        self.come = self._has_come.set


def test_who_waits_for_a_number_is_alive_and_not_ready(
    server: OperationsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends at a signal."""
    monkeypatch.setattr(client, "CONNECT_S", 0.5)
    monkeypatch.setattr(client, "SESSION_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = "{}:{}".format(*deaf.getsockname())
        waiting, stopping = threading.Event(), Signal()
        notices: list[Notice] = []

        def announce(notice: Notice) -> None:
            notices.append(notice)
            waiting.set()

        def ask() -> bool:
            try:
                beginning.ask(NumberingSettings(address, "a", None), beginning.Begun(stopping, server), announce)
            except Stopped:
                return True
            return False

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            assert waiting.wait(WAIT_S)
            assert _get(server, "/livez") == (200, "ok")
            assert _get(server, "/readyz") == (503, f"it has no number yet: it waits for ZooKeeper at {address}")
            assert _get(server, "/enable", "POST")[0] == 503
            stopping.come()
            assert asking.result(WAIT_S)
        (told,) = notices
        assert isinstance(told, Waiting)
        assert (told.what, told.why.partition(" within ")[0]) == ("a number", f"no ZooKeeper answers at {address}")


def _get(server: OperationsServer, path: str, method: str = "GET") -> tuple[int, str]:
    proof = {"Authorization": "Basic aW52b2tlci51c2VyOmludm9rZXIucGFzcw=="}
    request = urllib.request.Request(server.url + path, method=method, headers=proof)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_programs_work_under_their_numbers_and_keep_them(cluster: Cluster, place: str) -> None:
    assert assign(place, "somebody-else") == 0
    cluster.put("guest/echo")
    program = cluster.begin_named("invoker", "owdev-invoker-7", zookeeper=place)
    assert program.event("answering")["name"] == "invoker1"
    assert program.event("working")["topic"].endswith("invoker1")
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, invoker="invoker1")
    instance = cluster.controller.completion(sent).message["instance"]
    assert (instance["instance"], instance["uniqueName"]) == (1, "owdev-invoker-7")
    assert program.end(signal.SIGTERM) == 0
    again = cluster.begin_named("invoker", "owdev-invoker-7", zookeeper=place)
    assert again.event("working")["topic"].endswith("invoker1")
    assert again.end(signal.SIGTERM) == 0
    dispatcher = cluster.begin_named("dispatcher", "d", zookeeper=place)
    assert dispatcher.event("working")["topic"].endswith("invoker2")
    assert dispatcher.end(signal.SIGTERM) == 0


def test_a_program_that_waits_for_zookeeper_says_so_and_works_when_it_comes(
    cluster: Cluster, zookeeper: ZooKeeper, place: str
) -> None:
    zookeeper.kill()
    try:
        program = cluster.begin_named("invoker", "a", zookeeper=place)
        waiting = program.event("waiting")
        assert waiting["for"] == "a number" and f"no ZooKeeper answers at {place}" in waiting["why"]
    finally:
        zookeeper.restart()
    assert program.event("working")["topic"].endswith("invoker0")
    assert program.end(signal.SIGTERM) == 0


def test_a_program_ends_with_a_line_where_people_have_to_see_to_it(cluster: Cluster, place: str) -> None:
    program = cluster.begin_named("invoker", "a", "--overwriteId", "5", zookeeper=place)
    assert program.wait() == 2
    assert program.log[-1].startswith("instar invoker: --overwriteId 5: the invoker 'a' cannot have it")


LEAST = {
    "KAFKA_HOSTS": "kafka:9092",
    "CONFIG_whisk_couchdb_host": "couch",
    "CONFIG_whisk_couchdb_databases_WhiskAuth": "subjects",
    "CONFIG_whisk_couchdb_databases_WhiskEntity": "whisks",
    "CONFIG_whisk_couchdb_databases_WhiskActivation": "activations",
}


def test_zookeeper_is_asked_only_where_no_number_is_told() -> None:
    named = {"ZOOKEEPER_HOSTS": "zoo-0:2181,zoo-1:2181/whisk", "INVOKER_NAME": "a"}
    assert told(**named) == NumberingSettings("zoo-0:2181,zoo-1:2181/whisk", "a", None)
    assert told(**named, INSTAR_OVERWRITE_ID="3") == NumberingSettings("zoo-0:2181,zoo-1:2181/whisk", "a", 3)
    assert told(**named, INSTAR_INVOKER_ID="3") is None
    assert told(**named, INSTAR_DISPATCHED="true") is None
    assert cluster_settings.numbering(Program.DISPATCHER, {**named, "INSTAR_DISPATCHED": "true"}, {}) is not None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "INSTAR_INVOKER_ID is not set: an invoker needs a number; give --id N"),
        ({"ZOOKEEPER_HOSTS": "zoo:2181"}, "INVOKER_NAME is not either"),
        ({"INVOKER_NAME": "a"}, "ZOOKEEPER_HOSTS is not either"),
        ({"ZOOKEEPER_HOSTS": "zoo", "INVOKER_NAME": "a"}, r"ZOOKEEPER_HOSTS 'zoo': write HOST:PORT"),
        ({"ZOOKEEPER_HOSTS": "zoo:2181/../a", "INVOKER_NAME": "a"}, r"perhaps a path; '/../a' is none"),
        ({"ZOOKEEPER_HOSTS": "zoo:2181", "INVOKER_NAME": ".."}, r"INVOKER_NAME '..': an invoker's name in ZooKeeper"),
        ({"INSTAR_INVOKER_ID": "1", "INSTAR_OVERWRITE_ID": "2"}, "INSTAR_OVERWRITE_ID 2 .* leave one of them out"),
        ({"INSTAR_DISPATCHED": "true", "INSTAR_OVERWRITE_ID": "2"}, "with INSTAR_DISPATCHED none is taken"),
        ({"INSTAR_OVERWRITE_ID": "2147483648"}, "is beyond 2147483647"),
        ({"INSTAR_OVERWRITE_ID": "two"}, "INSTAR_OVERWRITE_ID 'two': write a whole number"),
    ],
)
def test_settings_that_give_no_number_are_refused_with_a_way_out(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        told(**given)


def told(**given: str) -> NumberingSettings | None:
    return cluster_settings.numbering(Program.INVOKER, {**LEAST, **given}, {})


def test_other_settings_are_checked_before_zookeeper_is_asked(cluster: Cluster) -> None:
    program = cluster.begin_named("invoker", "a", zookeeper="127.0.0.1:1", INSTAR_DRAIN="x")
    assert program.wait() == 2
    assert program.log[-1].startswith("instar invoker: INSTAR_DRAIN 'x'")
