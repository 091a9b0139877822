"""Invariant: code is reused only for the very bytes it was made from, and only from a folder that is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from instar.executor.load import load, structure
from instar.executor.prepare import REMEMBERED, forget, prepare
from instar.weights.store import Store

Packed = tuple[torch.nn.Module, Path]


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    forget()


def test_what_was_kept_is_what_was_compiled(packed: Packed, store: Store) -> None:
    first = structure(packed[1], store=store)
    kept = list((store.root / "compiled").iterdir())
    forget()
    again = structure(packed[1], store=store)
    assert len(kept) == 1
    assert again == first
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(packed[0](x), load(packed[1], store=store).run({"x": x})[0])


def test_a_damaged_entry_is_written_again(packed: Packed, store: Store) -> None:
    first = structure(packed[1], store=store)
    (entry,) = (store.root / "compiled").iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", whole[:40], whole[:-1], whole[:50] + b"\0" + whole[51:]):
        entry.write_bytes(damaged)
        forget()
        assert structure(packed[1], store=store) == first
        assert entry.read_bytes() == whole


def test_code_in_a_folder_that_others_may_write_is_ignored(packed: Packed, store: Store) -> None:
    structure(packed[1], store=store)
    folder = store.root / "compiled"
    (entry,) = folder.iterdir()
    entry.write_bytes(b"forged")
    folder.chmod(0o777)
    forget()
    assert structure(packed[1], store=store).program.gated()
    assert entry.read_bytes() == b"forged"


def test_a_cache_that_cannot_be_written_costs_time_only(packed: Packed) -> None:
    file = packed[1] / "model.json"
    first = prepare(file, Path("/proc/nowhere"))
    forget()
    assert prepare(file, Path("/proc/nowhere")) == first


def test_a_live_process_remembers_what_it_met_and_forgets_the_oldest(packed: Packed, tmp_path: Path) -> None:
    text = (packed[1] / "model.json").read_bytes()
    files = [tmp_path / f"{number}.json" for number in range(REMEMBERED + 1)]
    for number, file in enumerate(files):
        file.write_bytes(text + b" " * number)  # other bytes of the same meaning: another key
    found = [prepare(file, tmp_path / "compiled") for file in files]
    assert prepare(files[-1], tmp_path / "compiled") is found[-1]
    assert prepare(files[0], tmp_path / "compiled") is not found[0]
    assert prepare(files[0], tmp_path / "compiled") == found[0]


def test_what_one_folder_lacks_is_kept_in_the_last(packed: Packed, tmp_path: Path) -> None:
    file, shared, own = packed[1] / "model.json", tmp_path / "shared", tmp_path / "own"
    first = prepare(file, shared, own)
    assert not shared.exists() and len(list(own.iterdir())) == 1
    forget()
    own.rename(shared)
    assert prepare(file, shared, own) == first
    assert not own.exists()


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_code_of_another_user_is_taken_from_a_read_only_mount_only(packed: Packed, tmp_path: Path) -> None:
    """Nobody inside can write there, whoever it belongs to."""
    script = """
import os, subprocess, sys
from pathlib import Path
from instar.executor import prepare
read, file, cache = [], Path(sys.argv[1]), Path(sys.argv[2])
prepare.prepare(file, cache)
for path in (cache, *cache.iterdir()):
    os.chown(path, 1234, 1234)
before, prepare._from_plain = prepare._from_plain, lambda plain: read.append(plain) or before(plain)
for flags in ("bind", "remount,bind,ro"):
    subprocess.run(["mount", "-o", flags, str(cache), str(cache)], check=True)
    prepare.forget()
    prepare.prepare(file, cache)
    print(len(read))
"""
    command = ["unshare", "--mount", sys.executable, "-c", script, str(packed[1] / "model.json"), str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    assert (done.stdout.split(), done.stderr) == (["0", "1"], "")
