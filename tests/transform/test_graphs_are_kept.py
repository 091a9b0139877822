"""The graph of a live model is worked out once a node, and is never that of another model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import instar
from instar import package
from instar.errors import PackageError
from instar.executor import skeletons
from instar.plan import skeleton
from tests.transform import families

NAMED = {model.name: model for model in families.ALL}


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    skeletons.forget()
    yield
    skeletons.forget()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package."""
    folder = tmp_path_factory.mktemp("graphs") / "vectors"
    model = NAMED["vectors"]
    instar.pack(model.module(), model.inputs(2), folder)
    return folder


def structure(folder: Path) -> str:
    return package.decode(package.read(folder)).structure_digest


def test_it_is_the_graph_of_the_package(folder: Path, tmp_path: Path) -> None:
    found = skeletons.of(structure(folder), folder, tmp_path / "compiled")
    assert found == skeleton.disassemble(package.decode(package.read(folder)).graph)


def test_what_was_kept_or_remembered_needs_no_package(folder: Path, tmp_path: Path) -> None:
    digest = structure(folder)
    found = skeletons.of(digest, folder, tmp_path / "first", tmp_path / "second")
    assert list((tmp_path / "second").iterdir()) and not (tmp_path / "first").exists()
    with mock.patch.object(package, "decode", side_effect=AssertionError):
        assert skeletons.of(digest, tmp_path / "nowhere") == found  # remembered
        skeletons.forget()
        assert skeletons.of(digest, tmp_path / "nowhere", tmp_path / "second") == found


def test_a_damaged_entry_is_written_again(folder: Path, tmp_path: Path) -> None:
    found = skeletons.of(structure(folder), folder, tmp_path)
    (entry,) = tmp_path.iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", whole[:-1], whole[:50] + b"\0" + whole[51:]):
        entry.write_bytes(damaged)
        skeletons.forget()
        assert skeletons.of(structure(folder), folder, tmp_path) == found
        assert entry.read_bytes() == whole


def test_a_package_that_was_changed_since_is_no_source_of_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="changed since it was loaded"):
        skeletons.of("0" * 64, folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_few_are_remembered(folder: Path) -> None:
    found = skeletons.of(structure(folder), folder)
    with mock.patch.object(skeletons, "_of_package", return_value=found):
        for number in range(skeletons.REMEMBERED + 5):
            skeletons.of(f"{number:064x}", folder)
    assert len(skeletons._remembered) == skeletons.REMEMBERED
