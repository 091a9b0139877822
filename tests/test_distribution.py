"""`setup.py` lists every folder of code: what it forgets works in a clone and is missing where it was installed."""

from __future__ import annotations

from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]


def test_every_package_of_both_folders_is_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, list[str]] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **settings: said.update(settings))
    exec(compile((ROOT / "setup.py").read_text(), "setup.py", "exec"), {"__file__": str(ROOT / "setup.py")})
    found = setuptools.find_packages(str(ROOT / "runtime")) + setuptools.find_packages(
        str(ROOT / "controller-plugin")
    )
    assert sorted(said["packages"]) == sorted(found)
