"""What is uploaded: a handler with a package of data beside it, and within OpenWhisk's limit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from actions import build


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "files"),
    [
        (
            "classify-lite0",
            {"__main__.py", "picture.py", "classes.txt", "lite0/model.json", "lite0/model.safetensors"},
        ),
        ("embed", {"__main__.py", "tokenizer.json", "minilm/model.json"}),
    ],
)
def test_an_archive_has_the_handler_and_the_package_and_fits(
    archive: Callable[[str], Path], name: str, files: set[str]
) -> None:
    path = archive(name)
    assert set(zipfile.ZipFile(path).namelist()) == files
    assert path.stat().st_size * 4 / 3 < build.CODE_LIMIT_BYTES


@pytest.mark.system
def test_weights_that_do_not_fit_lie_beside_the_archive_and_are_named_by_uri(archive: Callable[[str], Path]) -> None:
    path = archive("embed")
    apart = path.with_suffix(".safetensors")
    assert apart.stat().st_size * 4 / 3 > build.CODE_LIMIT_BYTES
    assert json.loads(zipfile.ZipFile(path).read("minilm/model.json"))["weights"]["uri"] == apart.as_uri()


def test_there_is_a_name_for_each_of_the_thousand_classes() -> None:
    names = (build.HERE / "classify" / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == 1000
    assert all(names)
    assert (names[0], names[285], names[999]) == ("tench", "Egyptian Mau", "toilet paper")
