"""The contract of a store, over each that there is: on disk and in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from documents import activation, document, key

from instar_controller.clients.disk import DiskStore
from instar_controller.clients.memory import MemoryStore
from instar_controller.clients.retention import Retention
from instar_controller.errors import ConflictError, NotFoundError
from instar_controller.ports import ActivationQuery, Store
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.document import Collection, Key

SMALL = Retention(max_records=10, slack=4)


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    made: Store = MemoryStore(SMALL) if request.param == "memory" else DiskStore(tmp_path / "s.db", SMALL)
    request.addfinalizer(made.close)
    return made


def test_what_was_put_is_got_back(store: Store) -> None:
    revision = store.put(document("hello", at_ms=7, code="def ❄(): ..."), replaces=None)
    got = store.get(key("hello"))
    assert (got.key, got.body, got.updated_ms) == (key("hello"), {"n": 0, "ü": ["❄", None]}, 7)
    assert (got.revision, got.code) == (revision, None)
    assert store.get_code(key("hello"), revision) == "def ❄(): ..."


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.get(key("hello"))
    with pytest.raises(NotFoundError):
        store.get_code(key("hello"), 1)
    with pytest.raises(NotFoundError):
        store.delete(key("hello"), revision=1)


def test_a_document_is_created_only_once(store: Store) -> None:
    store.put(document("hello", n=1), replaces=None)
    with pytest.raises(ConflictError, match="Concurrent modification"):
        store.put(document("hello", n=2), replaces=None)
    assert store.get(key("hello")).body["n"] == 1


def test_a_document_is_replaced_only_by_who_knows_its_revision(store: Store) -> None:
    first = store.put(document("hello", n=1), replaces=None)
    second = store.put(document("hello", n=2), replaces=first)
    with pytest.raises(ConflictError):
        store.put(document("hello", n=3), replaces=first)
    with pytest.raises(ConflictError):
        store.delete(key("hello"), revision=first)
    assert store.get(key("hello")).body["n"] == 2
    store.delete(key("hello"), revision=second)
    with pytest.raises(ConflictError):
        store.put(document("hello", n=4), replaces=second)


def test_the_code_of_a_replaced_revision_is_not_found(store: Store) -> None:
    first = store.put(document("hello", code="one"), replaces=None)
    second = store.put(document("hello", code="two"), replaces=first)
    with pytest.raises(NotFoundError):
        store.get_code(key("hello"), first)
    assert store.get_code(key("hello"), second) == "two"


def test_a_revision_is_never_used_again(store: Store) -> None:
    seen = set()
    for _ in range(5):
        revision = store.put(document("hello"), replaces=None)
        store.delete(key("hello"), revision=revision)
        seen.add(revision)
    assert len(seen) == 5


def test_a_name_in_a_package_and_one_outside_are_two(store: Store) -> None:
    store.put(document("hello", n=1), replaces=None)
    store.put(document("hello", package="ml", n=2), replaces=None)
    assert store.get(key("hello")).body["n"] == 1
    assert store.get(key("hello", "ml")).body["n"] == 2


def test_a_list_has_the_latest_update_first(store: Store) -> None:
    for number in range(4):
        store.put(document(f"a{number}", at_ms=[5, 9, 7, 9][number]), replaces=None)
    store.put(document("inner", package="ml", at_ms=1), replaces=None)

    def names(**options: int | str) -> list[str]:
        return [d.key.name for d in store.list_documents(Collection.ACTIONS, "guest", **options)]  # type: ignore[arg-type]

    assert names() == ["a3", "a1", "a2", "a0", "inner"]
    assert names(skip=1, limit=2) == ["a1", "a2"]
    assert names(package="ml") == ["inner"]
    assert names(package="") == ["a3", "a1", "a2", "a0"]
    assert store.count_documents(Collection.ACTIONS, "guest") == 5
    assert store.count_documents(Collection.ACTIONS, "guest", package="ml") == 1
    assert store.count_documents(Collection.PACKAGES, "guest") == 0
    assert store.list_documents(Collection.ACTIONS, "other") == []


def test_a_key_is_whatever_it_is_called(store: Store) -> None:
    odd = Key(Collection.ACTIONS, "a'b\"c", "; DROP TABLE documents; --", "%")
    store.put(type(document("x"))(odd, {"a": 1}, 1, code="x"), replaces=None)
    assert store.get(odd).body == {"a": 1}


def test_a_record_is_got_back_whole(store: Store) -> None:
    put = activation(7, logs=("2026 stdout: ❄", "2026 stderr: é"))
    store.put_activation(put)
    assert store.get_activation("guest", put.activation_id) == put


def test_a_record_belongs_to_its_namespace(store: Store) -> None:
    store.put_activation(activation(7))
    with pytest.raises(NotFoundError):
        store.get_activation("other", ActivationId(f"{7:032x}"))


def test_a_record_is_replaced_by_one_with_its_logs(store: Store) -> None:
    store.put_activation(activation(7))
    store.put_activation(activation(7, logs=("line",)))
    assert store.get_activation("guest", ActivationId(f"{7:032x}")).logs == ("line",)
    assert store.count_activations(ActivationQuery("guest")) == 1


def test_a_list_of_records_is_without_their_bulk(store: Store) -> None:
    store.put_activation(activation(7, logs=("line",)))
    (line,) = store.list_activations(ActivationQuery("guest"), skip=0, limit=1)
    assert line == activation(7).without_bulk()


def test_records_are_selected_by_name_and_time(store: Store) -> None:
    for number in range(8):
        store.put_activation(activation(number, name="ml/echo" if number % 2 else "echo"))
    store.put_activation(activation(99, namespace="other"))

    def numbers(skip: int = 0, limit: int = 99, **fields: int | str) -> list[int]:
        query = ActivationQuery("guest", **fields)  # type: ignore[arg-type]
        found = store.list_activations(query, skip=skip, limit=limit)
        assert store.count_activations(query) == len(found) or skip or limit != 99
        return [line.start for line in found]

    assert numbers() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(skip=2, limit=3) == [5, 4, 3]
    assert numbers(name="ml/echo") == [7, 5, 3, 1]
    assert numbers(since_ms=3, upto_ms=5) == [5, 4, 3]
    assert numbers(name="echo", since_ms=3) == [6, 4]


def test_the_oldest_records_go_when_there_are_too_many(store: Store) -> None:
    for number in range(40):
        store.put_activation(activation(number))
        kept = store.count_activations(ActivationQuery("guest"))
        assert kept <= SMALL.max_records + SMALL.slack
    newest = [line.start for line in store.list_activations(ActivationQuery("guest"), skip=0, limit=10)]
    assert newest == list(range(39, 29, -1))


def test_threads_may_use_it_at_once(store: Store) -> None:
    # Invariant: whatever the threads do, a document is whole, and each successful put is one step.
    revision = store.put(document("shared", n=0), replaces=None)
    problems: list[BaseException] = []

    def work(own: int) -> None:
        try:
            for number in range(15):
                store.put(document(f"t{own}-{number}"), replaces=None)
                store.put_activation(activation(own * 100 + number, namespace=f"ns{own}"))
                store.list_documents(Collection.ACTIONS, "guest", limit=5)
                while True:
                    current = store.get(key("shared"))
                    n = current.body["n"]
                    assert isinstance(n, int)
                    try:
                        store.put(document("shared", n=n + 1), replaces=current.revision)
                    except ConflictError:
                        continue
                    break
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.get(key("shared")).body["n"] == 60
    assert store.get(key("shared")).revision > revision
    assert store.count_documents(Collection.ACTIONS, "guest") == 61
