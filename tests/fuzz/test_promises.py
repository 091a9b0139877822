"""Every promise of `tests.fuzz.targets` holds for real examples, and for each input that once broke it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz.search import CASES
from tests.fuzz.targets import NAMES, Target

FILES = sorted(path for name in NAMES for path in (CASES / name).glob("*"))


def target(name: str) -> Target:
    return importlib.import_module(f"tests.fuzz.targets.{name}").TARGET  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_that_broke_a_promise_keeps_it_now(path: Path) -> None:
    target(path.parent.name).check(path.read_bytes())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "http_connections"])
def test_a_real_example_keeps_the_promise(name: str) -> None:
    for data in target(name).seeds():
        target(name).check(data)


def test_every_folder_of_cases_is_a_targets() -> None:
    assert {path.name for path in CASES.iterdir()} <= set(NAMES)
