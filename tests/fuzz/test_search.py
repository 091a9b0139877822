"""A short search of every target, with one seed; `make fuzz` searches longer, with another one each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import describe
from tests.fuzz.search import search
from tests.fuzz.targets import NAMES

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # more than a search may take in all

SEED = 7
SECONDS = 60  # a limit for a slow machine; the number of inputs ends the search before
INPUTS = {"model_json": 1500, "weights_files": 1500, "archives": 1000, "http_bodies": 4000, "executor_frames": 1500,
          "process_frames": 5000, "http_connections": 500, "http_answers": 500, "bus_messages": 1500}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_short_search_breaks_no_promise(name: str, tmp_path: Path) -> None:
    print("seed", SEED)
    found = search(name, tmp_path / "found", seconds=SECONDS, runs=INPUTS[name], seed=SEED)
    assert not found.broken, describe(found)
    assert found.inputs >= 100


def test_a_search_finds_what_it_is_there_to_find(tmp_path: Path) -> None:
    """The target `planted` breaks its promise behind three conditions, which chance alone would not meet."""
    found = search("planted", tmp_path / "found", seconds=SECONDS, runs=200_000, seed=SEED)
    assert found.broken
    assert "PlantedError" in found.log and found.files[0].read_bytes().startswith(b"FUZ")
