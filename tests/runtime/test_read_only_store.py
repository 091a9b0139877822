"""A container that has the node's store mounted read-only: it changes nothing there, and lacks nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from instar import package
from instar.executor.load import load
from instar.weights.fetch import Fetcher
from instar.weights.store import Store
from tests.runtime import arriving
from tests.runtime.arriving import archive, digest, init, is_bit_equal, told, weights_of
from tests.runtime.containers import Container, zipped_folder
from tests.runtime.isolated import Isolated
from tests.runtime.modules import Deep
from tests.runtime.source import Source
from tests.weights import in_memory

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")]

MIB = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Store:
    """The node's store, which we may write."""
    (tmp_path / "node").mkdir()
    return Store(tmp_path / "node")


@pytest.fixture
def mounted(node: Store, tmp_path: Path) -> Iterator[Path]:
    """The same, read-only."""
    place = tmp_path / "mounted"
    place.mkdir()
    for options in ("bind", "remount,bind,ro"):
        done = subprocess.run(["mount", "-o", options, node.root, place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def start(mounted: Path, tmp_path: Path) -> Iterator[Callable[[], Container]]:
    with contextlib.ExitStack() as stack:

        def start() -> Container:
            container = Container(tmp_path / "container", environ={"INSTAR_STORE": str(mounted)})
            stack.callback(container.close)
            return container

        yield start


def bring(package: Path, node: Store) -> None:
    """Have a package's weights in a store, and nothing under way any more."""
    load(package, store=node).close()
    while at_work := [thread for thread in threading.enumerate() if thread.name == "instar-fetch"]:
        at_work[0].join()


def content(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in a store: mode, owner and time of change."""
    found = {path: path.stat() for path in (root, *root.rglob("*"))}
    return {str(path): (status.st_mode, status.st_uid, status.st_mtime_ns) for path, status in found.items()}


def test_weights_and_programs_that_are_there_are_used(
    start: Callable[[], Container], node: Store, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    bring(folder / "one", node)
    before = content(node.root)
    with in_memory.kept([node.place(digest(folder, "one"))]):
        container = start()
        assert init(container, archive(folder, source.url, "one"), "one").status == 200
        answer = container.run({"model": "one"})
    assert is_bit_equal(answer, modules["one"])
    assert told(answer) == {
        "fetchedBytes": 0,
        "presentBytes": (folder / weights_of("one")).stat().st_size,
        "waitedMs": 0.0,
    }
    assert content(node.root) == before
    assert source.given_bytes == 0


def test_weights_that_somebody_brings_there_are_followed(
    start: Callable[[], Container], node: Store, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    """The container names another source, which has nothing: what it answers with has come by way of the node."""
    weights = package.decode(package.read(folder / "one")).weights
    source.hold(weights_of("one"), 3 * MIB)
    fetcher = Fetcher(node)
    arrival = fetcher.begin(weights, f"{source.url}/{weights_of('one')}")
    source.await_asked(weights_of("one"))
    container = start()
    assert init(container, archive(folder, f"{source.url}/nowhere", "one"), "one").status == 200
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(container.run, {"model": "one"})
        source.release(weights_of("one"))
        assert is_bit_equal(answer.result(), modules["one"])
    assert not list(container.work.rglob("weights"))
    arrival.close()
    fetcher.close()


def test_a_worker_that_dies_while_it_follows_leaves_an_executor_that_does_not(
    start: Callable[[], Container], node: Store, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    """A map that may only be read cannot be used to wake who waits for it."""
    weights = package.decode(package.read(folder / "one")).weights
    source.hold(weights_of("one"))
    fetcher = Fetcher(node)
    arrival = fetcher.begin(weights, f"{source.url}/{weights_of('one')}")
    source.await_asked(weights_of("one"))
    container = start()
    first = """
import signal, torch, instar
def enough(*_):
    raise ValueError('it takes too long')
signal.signal(signal.SIGALRM, enough)
signal.setitimer(signal.ITIMER_REAL, 0.5)
instar.model('one')(torch.zeros(1, 512))
"""
    failed = container.init(archive(folder, source.url, "one", main=first))
    assert failed.status == 502 and "it takes too long" in failed.err
    assert init(container, archive(folder, source.url, "two"), "two").status == 200
    assert is_bit_equal(container.run({"model": "two"}), modules["two"])
    arrival.close()
    fetcher.close()


def test_what_its_bringer_gave_up_is_brought_to_the_containers_own_folder(
    start: Callable[[], Container], node: Store, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    weights = package.decode(package.read(folder / "one")).weights
    source.hold(weights_of("one"))
    fetcher = Fetcher(node)
    arrival = fetcher.begin(weights, f"{source.url}/{weights_of('one')}")
    source.await_asked(weights_of("one"))
    container = start()
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(container.run, {"model": "one"})
        arriving.await_ask(node.root, weights.digest)
        arrival.close()
        fetcher.close()
        assert "given up" in lost.result().json["error"], lost.result()
    source.release(weights_of("one"))
    assert is_bit_equal(container.run({"model": "one"}), modules["one"])


def test_what_it_lacks_goes_to_the_containers_own_folder(
    start: Callable[[], Container], node: Store, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    before = content(node.root)
    container = start()
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    assert is_bit_equal(container.run({"model": "one"}), modules["one"])
    assert content(node.root) == before
    (own,) = container.work.glob("instar-*/store")
    # Beside the program there may be its graph, which a model that nobody asks for a moment is given time for.
    assert len([path for path in (own / "compiled").iterdir() if ".graph." not in path.name]) == 1
    container.close()
    assert not own.exists()


def test_a_model_in_the_archive_needs_nothing_of_the_node(
    start: Callable[[], Container], folder: Path, modules: dict[str, Deep]
) -> None:
    container = start()
    code = zipped_folder(folder / "two", "two", {"__main__.py": arriving.HANDLER})
    assert init(container, code, "two").status == 200
    assert is_bit_equal(container.run({"model": "two"}), modules["two"])


def test_an_isolated_container_leaves_it_as_it_is(folder: Path, modules: dict[str, Deep], source: Source) -> None:
    """Whose it is and who may pass is for whoever mounted it to say."""
    with contextlib.ExitStack() as stack:
        container = Isolated("--isolate")  # for its folder, which every user may reach
        stack.callback(container.close)
        node, place = container.folder / "node", container.folder / "mounted"
        bring(folder / "one", Store(node))
        place.mkdir()
        for options in ("bind", "remount,bind,ro"):
            if subprocess.run(["mount", "-o", options, node, place], capture_output=True).returncode:
                pytest.skip("this machine mounts nothing")
        stack.callback(subprocess.run, ["umount", "--lazy", place], check=True)
        before = content(node)
        other = Isolated("--isolate", environ={"INSTAR_STORE": str(place)})
        stack.callback(other.close)
        assert init(other, archive(folder, source.url, "one", "two"), "one", "two").status == 200
        for name in ("one", "two"):
            assert is_bit_equal(other.run({"model": name}), modules[name])
        assert content(node) == before
        assert source.given_bytes == (folder / weights_of("two")).stat().st_size


def test_one_that_the_runtimes_user_may_not_read_is_refused_at_the_start() -> None:
    with contextlib.ExitStack() as stack:
        first = Isolated("--isolate")
        stack.callback(first.close)
        node = first.folder / "closed"
        node.mkdir(mode=0o700)
        for options in ("bind", "remount,bind,ro"):
            if subprocess.run(["mount", "-o", options, node, node], capture_output=True).returncode:
                pytest.skip("this machine mounts nothing")
        stack.callback(subprocess.run, ["umount", "--lazy", node], check=True)
        other = Isolated("--isolate", environ={"INSTAR_STORE": str(node)})
        stack.callback(other.close)
        assert other.await_end() == 1
        assert f"cannot reach {node}" in other.printed()[1]
