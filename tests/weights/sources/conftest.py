"""Bytes that no two places share, and servers that end with their test."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from instar.weights import sources
from instar.weights.sources import Limits, Origin, Reader
from tests.weights.sources.servers import Answer, Server

SEED = 20265
SHORT = Limits(connect_s=2.0, stall_s=0.3, slowest_bytes_per_s=1_000_000)  # for what is to take too long
LONG = Limits(connect_s=60.0, stall_s=60.0)  # for the rest: a machine may stand still for a moment

Serve = Callable[[Answer], Server]
Read = Callable[[Reader, int, int], bytes]


@pytest.fixture(scope="session")
def data() -> bytes:
    print("seed", SEED)
    return random.Random(SEED).randbytes(100_003)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(Server(answer))


def read(reader: Reader, begin: int, nbytes: int) -> bytes:
    """Seek, read."""
    reader.seek(begin, nbytes)
    found = bytearray(nbytes)
    reader.read(memoryview(found))
    return bytes(found)


def origin_of(server: Server, nbytes: int, path: str = "/file", *, limits: Limits = LONG) -> Origin:
    return sources.origin(server.url(path), nbytes=nbytes, environ={}, limits=limits)
