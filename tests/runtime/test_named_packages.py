"""What `INSTAR_MODEL` may not name."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar.action import packages
from instar.errors import InstarError


@pytest.mark.parametrize("location", ["http://[x", "nosuch://x/y", "/a\0b", "file://", "::"])
def test_what_is_no_place_of_a_package_is_named(tmp_path: Path, location: str) -> None:
    with pytest.raises(InstarError):
        packages.named({"INSTAR_MODEL": location}, tmp_path, tmp_path / "scratch")
