"""What crosses the wire when a container is to become another function, and what its answers count as."""

from __future__ import annotations

import socket

import pytest
from listeners import replying, request_of, serving

from instar_controller.clients import exchange
from instar_controller.ports import NOT_OFFERED, UNTOUCHED
from instar_controller.whisk.response import Disconnected, Outcome, Replied

TOKEN = "a token"


def transform(reply: bytes) -> Outcome:
    with serving(replying(reply)) as address:
        return exchange.transform(address, TOKEN, b"{}", timeout_ms=60_000, max_reply_bytes=1000)


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_the_token_goes_with_the_transformation_and_with_nothing_else() -> None:
    heads: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        heads.append(request_of(connection).partition(b"\r\n\r\n")[0])
        connection.sendall(answer(200, b"{}"))

    with serving(serve) as address:
        exchange.transform(address, TOKEN, b"{}", timeout_ms=60_000, max_reply_bytes=1000)
    with serving(serve) as address:
        exchange.post(address, "/run", b"{}", timeout_ms=60_000, max_reply_bytes=1000)
    transforming, running = heads
    assert transforming.startswith(b"POST /transform HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer a token\r\n" in transforming
    assert b"Authorization" not in running and TOKEN.encode() not in running


def test_a_runtime_that_does_not_know_of_it_is_untouched_and_told_apart() -> None:
    outcome = transform(answer(404, b'{"error":"POST /transform: Not Found"}'))
    assert outcome == NOT_OFFERED
    assert isinstance(outcome, Replied) and outcome.status == UNTOUCHED


@pytest.mark.parametrize("status", [200, 401, 409, 502, 503])
def test_every_other_answer_is_passed_on_as_it_is(status: int) -> None:
    assert transform(answer(status, b'{"ok":true}')) == Replied(status, b'{"ok":true}', 11)


def test_no_answer_is_none() -> None:
    assert transform(b"") == Disconnected()


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {exchange.make_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) >= 43 and token.isascii() for token in tokens)
