"""The application behind the server that serves it: what only a real connection shows."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest
import waitress  # type: ignore[import-untyped]
from flask import Flask
from rest_client import basic

from instar_controller.whisk.identity import Identity

MIB = 1024 * 1024
ACTION = {"exec": {"kind": "python:3", "code": "def main(args):\n    return args\n"}}


@pytest.fixture
def address(app: Flask) -> Iterator[tuple[str, int]]:
    server = waitress.create_server(app, host="127.0.0.1", port=0, max_request_body_size=128 * MIB)
    thread = threading.Thread(target=server.run, name="waitress")
    thread.start()
    yield server.effective_host, server.effective_port
    server.trigger.pull_trigger(server.close)  # closed in its own thread: its loop ends when nothing is left
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def connection(address: tuple[str, int]) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection(*address, timeout=60)
    yield made
    made.close()


def exchange(
    connection: http.client.HTTPConnection,
    guest: Identity,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request; a body that is an iterator is sent in chunks."""
    headers = {"Authorization": basic(guest.api_key), "Content-Type": "application/json"}
    in_chunks = isinstance(body, Iterator)
    if in_chunks:
        headers["Transfer-Encoding"] = "chunked"
    connection.request(method, f"/api/v1/namespaces/_/{path}", body, headers, encode_chunked=in_chunks)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_a_body_above_50_mb_is_refused_and_the_connection_still_good(
    connection: http.client.HTTPConnection, guest: Identity
) -> None:
    for method, path in (("PUT", "actions/huge"), ("POST", "actions/huge")):
        status, _, body = exchange(connection, guest, method, path, b" " * (50 * MIB + 1))
        assert (status, body) == (400, b"Request too large")
    assert exchange(connection, guest, "GET", "actions")[2] == b"[]"


def test_a_body_may_come_in_pieces(connection: http.client.HTTPConnection, guest: Identity) -> None:
    text = json.dumps(ACTION).encode()
    pieces = (text[start : start + 7] for start in range(0, len(text), 7))
    status, _, body = exchange(connection, guest, "PUT", "actions/echo", pieces)
    assert status == 200
    assert json.loads(body)["exec"]["code"] == ACTION["exec"]["code"]


def test_a_payload_in_pieces_has_the_same_limit(connection: http.client.HTTPConnection, guest: Identity) -> None:
    exchange(connection, guest, "PUT", "actions/echo", json.dumps(ACTION).encode())
    pieces = iter([b'{"p": "', b"x" * MIB, b'"}'])
    status, _, body = exchange(connection, guest, "POST", "actions/echo?blocking=true", pieces)
    assert status == 413
    assert b"Request larger than allowed" in body


def test_a_head_answers_without_a_body_and_keeps_the_connection(
    connection: http.client.HTTPConnection, guest: Identity
) -> None:
    status, headers, body = exchange(connection, guest, "HEAD", "actions/echo")
    assert (status, body) == (404, b"")
    assert int(headers["Content-Length"]) > 0
    assert exchange(connection, guest, "GET", "actions")[0] == 200


def test_names_come_percent_encoded(connection: http.client.HTTPConnection, guest: Identity) -> None:
    status, _, body = exchange(connection, guest, "PUT", "actions/a%20b%26c", json.dumps(ACTION).encode())
    assert (status, json.loads(body)["name"]) == (200, "a b&c")
    assert exchange(connection, guest, "POST", "actions/a%20b%26c?blocking=true&result=true", b'{"n":1}')[2] == (
        b'{"n":1}'
    )
