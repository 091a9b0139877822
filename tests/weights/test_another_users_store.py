"""A store that belongs to another user is followed as one that may only be read: nothing in it can be changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from instar.errors import SourceError
from instar.weights import keeping
from instar.weights.fetch import Fetcher
from instar.weights.store import Store
from tests.runtime.source import PIECE_BYTES, serving
from tests.weights.files import CHUNK, made

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user"),
]

NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A place that every user may come to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def as_nobody(function: Callable[[Callable[[str], object]], object]) -> tuple[BinaryIO, Callable[[], object]]:
    """A process of another user that calls a function once it is told to; what that says, and how to tell it.

    It is forked at once, before there are threads, and ends with the test if it is never told.
    """
    said, saying = os.pipe()
    waiting, going = os.pipe()
    if os.fork() == 0:
        os.close(going)
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            if os.read(waiting, 1):
                function(lambda text: os.write(saying, text.encode()))
        except BaseException as error:
            os.write(saying, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(saying)
    os.close(waiting)
    return os.fdopen(said, "rb"), lambda: _tell(going)


def _tell(going: int) -> None:
    os.write(going, b"!")
    os.close(going)


def test_another_users_store_is_followed(root: Path) -> None:
    (root / "source").mkdir()
    weights = made(root / "source" / "w", 4 * PIECE_BYTES)
    store = Store(root / "store")

    def follow(say: Callable[[str], object]) -> None:
        fetcher = Fetcher(store)
        arrival = fetcher.begin(weights, "http://127.0.0.1:9/nothing")
        say("begun" if not arrival.is_whole else "there")
        arrival.wait_all()
        say("whole")

    said, go = as_nobody(follow)
    with said, serving(root / "source") as source:
        source.hold("w", PIECE_BYTES)
        owner = Fetcher(store, readers=1, environ={})
        arrival = owner.begin(weights, f"{source.url}/w")
        arrival.wait(0, PIECE_BYTES // CHUNK - 1)
        go()
        assert said.read(5) == b"begun"
        source.release("w")
        assert said.read() == b"whole"
        owner.settle()
        arrival.close()
        owner.close()
        assert source.given_bytes == weights.size


def test_another_users_store_can_be_listed_and_not_changed(root: Path) -> None:
    weights = made(root / "w", 3 * CHUNK)
    store = Store(root / "store")

    def change(say: Callable[[str], object]) -> None:
        (entry,) = keeping.entries(store)
        refused = []
        for act in (lambda: keeping.pin(store, entry.digest), lambda: keeping.reduce(store, 0)):
            try:
                act()
            except SourceError as error:
                refused.append("cannot be changed (Permission denied); it belongs to whoever made it" in str(error))
        say(f"{entry.standing.value} {refused}")

    said, go = as_nobody(change)
    fetcher = Fetcher(store, environ={})
    arrival = fetcher.begin(weights, root / "w")
    arrival.wait_all()
    fetcher.settle()
    arrival.close()
    fetcher.close()
    go()
    with said:
        assert said.read() == b"idle [True, True]"
