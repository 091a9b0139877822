"""The runtimes manifest: OpenWhisk's own format, checked when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from instar_controller.errors import SettingsError
from instar_controller.whisk import manifest
from instar_controller.whisk.manifest import StemCells


def kind(name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": name, "image": {"name": "image"}, **fields}


def read(**families: Any) -> manifest.Manifest:
    return manifest.parse({"description": ["ignored"], "runtimes": families})


def test_a_kind_is_found_by_its_name_and_by_its_familys_default() -> None:
    found = read(python=[kind("python:3.11"), kind("python:3-ml", default=True)])
    for name in ("python:3-ml", "PYTHON:3-ML", "python:default", "Python:Default"):
        resolved = found.resolve(name)
        assert resolved is not None
        assert resolved.kind == "python:3-ml"
    for name in ("python", "python:", "python:4", "ruby:default", ""):
        assert found.resolve(name) is None


def test_the_only_version_of_a_family_is_its_default() -> None:
    resolved = read(python=[kind("python:3")]).resolve("python:default")
    assert resolved is not None
    assert resolved.kind == "python:3"


def test_an_image_is_resolved() -> None:
    image = {"registry": "registry.example:5000", "prefix": "acme", "name": "ml", "tag": "1.0"}
    (found,) = read(python=[kind("python:3", image=image)]).kinds
    assert found.image == "registry.example:5000/acme/ml:1.0"


@pytest.mark.parametrize(("text", "memory_mb"), [("256 MB", 256), ("2 GB", 2048), ("512m", 512), ("1048576 K", 1024)])
def test_stem_cells_are_read(text: str, memory_mb: int) -> None:
    cells = [{"initialCount": 2, "memory": text}]
    (found,) = read(python=[kind("python:3", stemCells=cells)]).kinds
    assert found.stem_cells == (StemCells(2, memory_mb),)


def test_kinds_may_say_that_they_write_no_sentinels() -> None:
    kinds = [kind("a:1", default=True), kind("a:2", sentinelledLogs=True), kind("a:3", sentinelledLogs=False)]
    found = read(a=kinds)
    assert [one.sentinelled for one in found.kinds] == [True, True, False]
    assert found.unmarked_kinds == {"a:3"}
    assert manifest.DEFAULT.unmarked_kinds == set()


@pytest.mark.parametrize(
    ("families", "text"),
    [
        ({}, "an object with a field 'runtimes'"),
        ({"Python": [kind("python:3")]}, "must be lower-case letters and digits"),
        ({"python": []}, "a list of at least one kind"),
        ({"python": [kind("python:3"), kind("python:4")]}, "has 0 default kinds"),
        ({"python": [kind("python:3", default=True), kind("python:4", default=True)]}, "has 2 default kinds"),
        ({"python": [kind("Python:3")]}, "a lower-case name"),
        ({"python": [kind("python:3", sentinelledLogs="no")]}, "'sentinelledLogs' must be true or false, not 'no'"),
        ({"python": [kind("python:3", stemCells=[{"initialCount": 1, "memory": "1 K"}])]}, "of 1 MB or more"),
        ({"python": [{"kind": "python:3"}]}, "'image' must be an object"),
        ({"python": [kind("python:3")], "other": [kind("python:3")]}, "python:3 more than once"),
        ({"python": [kind("python:3", stemCells=[{"initialCount": 0, "memory": "1 GB"}])]}, "stem cells need"),
        ({"python": [kind("python:3", stemCells=[{"initialCount": 1}])]}, "stem cells need"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(families: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        read(**families)
