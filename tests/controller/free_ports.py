"""Ports for servers that have to be told where to listen.

One rule: a port is none of those that the system gives to connections, from 32768 on: between our choice and the
server's start, or while the server is away, no connection of anybody's takes it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket

FIRST, BEYOND = 20_000, 32_000


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has."""
    while True:
        port = FIRST + secrets.randbelow(BEYOND - FIRST)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
