"""A document's version: three numbers, of which every update raises the last."""

from __future__ import annotations

import re
from dataclasses import dataclass

from instar_controller.errors import MalformedError
from instar_controller.whisk.values import Json

_FORM = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Version:
    """Semantic in name only: OpenWhisk never compares two of them."""

    major: int
    minor: int
    patch: int

    def next(self) -> Version:
        return Version(self.major, self.minor, self.patch + 1)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


FIRST = Version(0, 0, 1)


def parse(value: Json) -> Version:
    """The version that a document or a request names. Raises `MalformedError`."""
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise MalformedError.content(f"a version is three numbers such as '0.0.1', not {value!r}")
    return Version(*(int(part) for part in match.groups()))
