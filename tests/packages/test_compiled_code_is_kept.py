"""Invariant: code is reused only for the very bytes it was made from, and only from a folder that is ours."""

from __future__ import annotations

from pathlib import Path

import torch

from instar.executor.load import load, structure
from instar.executor.prepare import prepare
from instar.weights.store import Store

Packed = tuple[torch.nn.Module, Path]


def test_what_was_kept_is_what_was_compiled(packed: Packed, store: Store) -> None:
    first = structure(packed[1], store=store)
    kept = list((store.root / "compiled").iterdir())
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
        assert structure(packed[1], store=store) == first
        assert entry.read_bytes() == whole


def test_code_in_a_folder_that_others_may_write_is_ignored(packed: Packed, store: Store) -> None:
    structure(packed[1], store=store)
    folder = store.root / "compiled"
    (entry,) = folder.iterdir()
    entry.write_bytes(b"forged")
    folder.chmod(0o777)
    assert structure(packed[1], store=store).program.gated()
    assert entry.read_bytes() == b"forged"


def test_a_cache_that_cannot_be_written_costs_time_only(packed: Packed) -> None:
    file = packed[1] / "model.json"
    assert prepare(file, Path("/proc/nowhere")) == prepare(file, Path("/proc/nowhere"))
