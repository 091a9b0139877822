"""A target that breaks its promise, to show that a search would tell. Not one of `NAMES`."""

from __future__ import annotations

from collections.abc import Iterable

from tests.fuzz.targets import Target


class PlantedError(Exception):
    """What the search has to find."""


def check(data: bytes) -> None:
    if data[0:1] == b"F" and data[1:2] == b"U" and data[2:3] == b"Z":
        raise PlantedError(data)


def seeds() -> Iterable[bytes]:
    yield b"fuzz"


TARGET = Target(check, seeds)
