"""One request on a connection of its own, as OpenWhisk makes one for each, spoken by hand.

By hand, for Python's own client takes as long as half of all that is timed with it. It reads answers of our own
runtimes only: JSON objects that end with a line feed.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

ANSWER_S = 120
RETRY_S = 0.002  # between attempts to connect to a container that does not listen yet


def request(address: tuple[str, int], method: str, path: str, body: bytes = b"") -> Any:
    """The JSON object that answers. Raises `ValueError` where the status is not 200."""
    head = f"{method} {path} HTTP/1.1\r\nHost: action:8080\r\nContent-Type: application/json\r\n"
    with _connected(address) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        found = b""
        while not found.endswith(b"}\n"):  # as each of the answers does, and none before its end
            piece = connection.recv(1 << 16)
            if not piece:
                break
            found += piece
    if not found.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"{method} {path} was answered with {found[:300]!r}")
    return json.loads(found.partition(b"\r\n\r\n")[2])


def _connected(address: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return socket.create_connection(address, timeout=ANSWER_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)  # nothing tells when a socket of another network begins to listen
