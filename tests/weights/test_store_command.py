"""`instar store`: what a person sees of a store, and what it answers where something is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from instar.commands.main import main
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Weights
from instar.weights.store import Store
from tests.weights.files import made

NBYTES = 300 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> list[Weights]:
    """Two files, the first one used before the second."""
    found = []
    for seed in (1, 2):
        weights = made(tmp_path / str(seed), NBYTES, seed=seed)
        fetcher = Fetcher(store, environ={})
        arrival = fetcher.begin(weights, tmp_path / str(seed))
        arrival.wait_all()
        fetcher.settle()
        arrival.close()
        fetcher.close()
        os.utime(store.place(weights.digest), (seed, seed))
        found.append(weights)
    return found


def ask(capsys: pytest.CaptureFixture[str], store: Store, *words: str, status: int = 0) -> str:
    assert main(["store", words[0], "--store", str(store.root), *words[1:]]) == status
    said = capsys.readouterr()
    return said.out if status == 0 or said.out else said.err


def test_ls_shows_each_file_and_how_full_the_store_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: Store, kept: list[Weights]
) -> None:
    monkeypatch.setenv("INSTAR_STORE_MIB", "10")
    newest, oldest, total = ask(capsys, store, "ls").splitlines()
    assert newest.split()[:4] == [kept[1].digest[:16], "300.0", "KiB", "idle"]
    assert oldest.startswith(kept[0].digest[:16])
    assert total == f"{store.root}: 2 files, 600.0 KiB of 10.0 MiB"


def test_ls_as_json(capsys: pytest.CaptureFixture[str], store: Store, kept: list[Weights]) -> None:
    said = json.loads(ask(capsys, store, "ls", "--json"))
    assert said["bytes"] == 2 * NBYTES
    expected = {"digest": kept[1].digest, "bytes": NBYTES, "used": 2.0, "state": "idle"}
    assert said["files"][0] == expected


def test_gc_evicts_down_to_a_size(capsys: pytest.CaptureFixture[str], store: Store, kept: list[Weights]) -> None:
    assert "0 B freed, 600.0 KiB left" in ask(capsys, store, "gc")
    said = ask(capsys, store, "gc", "--to", "0")
    assert f"evicted {kept[0].digest[:16]}" in said and said.endswith("600.0 KiB freed, 0 B left\n")


def test_gc_says_why_more_is_left(capsys: pytest.CaptureFixture[str], store: Store, kept: list[Weights]) -> None:
    assert ask(capsys, store, "pin", kept[0].digest[:6]) == f"pinned {kept[0].digest[:16]}\n"
    assert "the rest is pinned, in use or arriving" in ask(capsys, store, "gc", "--to", "0")
    assert ask(capsys, store, "unpin", kept[0].digest) == f"unpinned {kept[0].digest[:16]}\n"
    assert json.loads(ask(capsys, store, "gc", "--to", "0", "--json"))["evicted"] == [kept[0].digest]


def test_verify_says_what_is_wrong(capsys: pytest.CaptureFixture[str], store: Store, kept: list[Weights]) -> None:
    assert ask(capsys, store, "verify") == f"{store.root}: 2 files, 2 of them right\n"
    path = store.place(kept[0].digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"damage")
    said = ask(capsys, store, "verify", status=1)
    moved = store.damaged(kept[0].digest)
    assert f"{kept[0].digest[:16]}  chunks 2 are damaged; moved to {moved}; it is fetched again" in said
    assert json.loads(ask(capsys, store, "verify", "--json")) == {"files": 1, "wrong": []}


@pytest.mark.parametrize("what", ["ls", "gc", "verify"])
def test_a_store_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str], store: Store, what: str) -> None:
    said = ask(capsys, store, what, status=1)
    assert said == f"instar store: there is no store at {store.root}; name one with --store or INSTAR_STORE\n"
    assert not store.root.exists()


def test_a_folder_that_is_no_store_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    assert "is no store of Instar's: it holds 'thesis.txt'" in ask(capsys, Store(tmp_path), "gc", status=1)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_digest_must_name_one_file(capsys: pytest.CaptureFixture[str], store: Store, kept: list[Weights]) -> None:
    assert "no file begins with 'zz'" in ask(capsys, store, "pin", "zz", status=1)
    assert "2 files begin with ''" in ask(capsys, store, "pin", "", status=1)


def test_a_size_must_be_a_number(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["store", "gc", "--to", "much"])
    assert ended.value.code == 2
    assert "'much' is no number of MiB" in capsys.readouterr().err
