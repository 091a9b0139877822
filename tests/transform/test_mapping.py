"""The addresses of weights: one file or nothing can be read there, until the last tensor has gone."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from instar.errors import SourceError
from instar.executor import transform
from instar.executor.mapping import LEAST_BYTES, WeightsMapping
from instar.weights import kernel
from instar.weights.fetch import Fetcher
from tests.transform.conftest import Packed
from tests.transform.process import Region, regions

PAGE = mmap.PAGESIZE
ALL_OF = ("uint8", (3 * PAGE,), (1,), 0)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Descriptors of files that are full of one byte each."""
    found = {}
    for byte, nbytes in (("a", 3 * PAGE), ("b", 3 * PAGE), ("c", PAGE + 1), ("d", 5 * PAGE)):
        (tmp_path / byte).write_bytes(byte.encode() * nbytes)
        found[byte] = os.open(tmp_path / byte, os.O_RDONLY)
    yield found
    for descriptor in found.values():
        os.close(descriptor)


def around(address: int) -> list[Region]:
    return [region for region in regions() if region.start <= address < region.end]


def test_a_tensor_reads_whatever_is_shown(files: dict[str, int]) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["a"], 3 * PAGE)
    (tensor,) = mapping.views([ALL_OF])
    address = tensor.data_ptr()
    assert bytes(tensor.tolist()) == b"a" * 3 * PAGE
    mapping.show(files["b"], 3 * PAGE)
    assert tensor.data_ptr() == address
    assert bytes(tensor.tolist()) == b"b" * 3 * PAGE


def test_beyond_a_shorter_file_nothing_can_be_read(files: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["d"], 5 * PAGE)
    (tensor,) = mapping.views([ALL_OF])
    seen: list[str] = []
    map_over, cover = kernel.map_over, kernel.cover
    monkeypatch.setattr(kernel, "map_over", lambda *a: (seen.append("map"), map_over(*a))[1])
    monkeypatch.setattr(kernel, "cover", lambda *a: (seen.append("cover"), cover(*a))[1])
    mapping.show(files["c"], PAGE + 1)
    assert seen == ["cover", "map"]  # at no moment is the end of the old file beside the new one
    assert bytes(tensor[: PAGE + 2].tolist()) == b"c" * (PAGE + 1) + b"\0"
    for page in (2, 3, 4):
        (region,) = around(tensor.data_ptr() + page * PAGE)
        assert region.permissions == "---p"
    mapping.show(files["a"], 3 * PAGE)
    assert seen[2:] == ["map"]  # a longer one, an equal one: one call
    assert bytes(tensor.tolist()) == b"a" * 3 * PAGE


def test_what_is_hidden_cannot_be_read(files: dict[str, int]) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["a"], 3 * PAGE)
    (tensor,) = mapping.views([ALL_OF])
    mapping.hide()
    (region,) = around(tensor.data_ptr())
    assert region.permissions == "---p" and region.end - region.start >= LEAST_BYTES


def test_addresses_are_given_back_with_the_last_tensor(files: dict[str, int]) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["a"], 3 * PAGE)
    (tensor,) = mapping.views([ALL_OF])
    address, part = tensor.data_ptr(), tensor[7:9]
    del mapping, tensor
    assert part.tolist() == [ord("a")] * 2
    assert around(address)
    del part
    assert not around(address)


def test_a_file_that_is_too_short_is_not_shown(files: dict[str, int]) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["a"], 3 * PAGE)
    with pytest.raises(SourceError, match=f"has {PAGE + 1} bytes instead of {3 * PAGE}"):
        mapping.show(files["c"], 3 * PAGE)


def test_nothing_can_be_written(files: dict[str, int]) -> None:
    mapping = WeightsMapping(3 * PAGE)
    mapping.show(files["a"], 3 * PAGE)
    (tensor,) = mapping.views([ALL_OF])
    (region,) = around(tensor.data_ptr())
    assert region.permissions == "r--s"


def test_an_output_that_is_a_weight_stays_what_it_was(packed: dict[str, Packed], fetcher: Fetcher) -> None:
    source = packed["several"]
    model = source.load(fetcher)
    outputs = model.run(source.inputs)
    transform.into(model, packed["mobile"].directory, fetcher=fetcher)
    assert all(torch.equal(a, b) for a, b in zip(outputs, source.answers, strict=True))
    model.close()
    assert all(torch.equal(a, b) for a, b in zip(outputs, source.answers, strict=True))


def test_a_model_that_does_not_fit_gets_new_addresses(
    packed: dict[str, Packed], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = packed["vectors"], packed["vectors-wide"]
    monkeypatch.setattr("instar.executor.mapping.LEAST_BYTES", PAGE)
    model = small.load(fetcher)
    assert model._bound is not None
    old = model._bound.mapping
    address = old._address
    assert not old.has_room(large.prepared.weights.size)
    transform.into(model, large.directory, fetcher=fetcher)
    large.check(model)
    assert [region.permissions for region in around(address)] == ["---p"]
    del old
    assert not around(address)
    transform.into(model, small.directory, fetcher=fetcher)
    small.check(model)
    model.close()


def test_a_model_that_rested_answers_as_before(packed: dict[str, Packed], fetcher: Fetcher) -> None:
    model = packed["gpt2"].load(fetcher)
    packed["gpt2"].check(model)
    assert model._bound is not None
    address = model._bound.mapping._address
    assert resident_bytes(address) > 0
    model.rest()
    assert resident_bytes(address) == 0
    packed["gpt2"].check(model)
    assert resident_bytes(address) > 0
    model.rest()
    transform.into(model, packed["mobile"].directory, fetcher=fetcher)
    packed["mobile"].check(model)
    model.close()


def resident_bytes(address: int) -> int:
    """How much of the region that begins at an address is in this process's page tables."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(f"{address:x}-"))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1]) * 1024
