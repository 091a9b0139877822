"""What is written is prepared, soon and by somebody else; one action's trouble costs the others nothing."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import pytest
from jobs import action

from instar_controller.clients.memory import MemoryStore, MemoryWeights
from instar_controller.engines.preparer import Preparer
from instar_controller.whisk.action import Action
from instar_controller.whisk.document import Collection, Key

WAIT_S = 60.0


class Watched(MemoryWeights):
    """Tells what is prepared, and with which code."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def prepare(self, action: Action, revision: int | str, read_code: Callable[[], str]) -> None:
        if action.name == "broken":
            raise ValueError("a mistake of ours")
        self.prepared.put((action.name, read_code()))


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def weights() -> Watched:
    return Watched()


@pytest.fixture
def preparer(store: MemoryStore, weights: Watched) -> Iterator[Preparer]:
    preparer = Preparer(store, weights)
    preparer.start()
    yield preparer
    preparer.close()


def write(store: MemoryStore, name: str, code: str = "YQ==", *, binary: bool = True) -> Key:
    document = action(code, name=name, binary=binary).to_document()
    store.put(document, replaces=None)
    return document.key


def test_an_archive_that_was_written_is_prepared(store: MemoryStore, weights: Watched, preparer: Preparer) -> None:
    preparer.changed(write(store, "f"))
    assert weights.prepared.get(timeout=WAIT_S) == ("f", "YQ==")


def test_sources_deleted_actions_and_packages_are_passed_over(
    store: MemoryStore, weights: Watched, preparer: Preparer
) -> None:
    preparer.changed(write(store, "source", "def main(a): return a", binary=False))
    preparer.changed(Key(Collection.ACTIONS, "guest", "deleted"))
    preparer.changed(Key(Collection.PACKAGES, "guest", "package"))
    preparer.changed(write(store, "last"))
    assert weights.prepared.get(timeout=WAIT_S)[0] == "last"


def test_a_mistake_costs_one_action_its_head_start(
    store: MemoryStore, weights: Watched, preparer: Preparer, caplog: pytest.LogCaptureFixture
) -> None:
    preparer.changed(write(store, "broken"))
    preparer.changed(write(store, "f"))
    assert weights.prepared.get(timeout=WAIT_S)[0] == "f"
    assert "nothing is prepared for" in caplog.text


def test_after_the_end_nothing_is_prepared(store: MemoryStore, weights: Watched, preparer: Preparer) -> None:
    preparer.close()
    preparer.changed(write(store, "f"))
    preparer.close()
    assert weights.prepared.empty()
