"""What OpenWhisk relies on between activations, and of every answer, whatever it says."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time

import pytest

from tests.image.containers import ANSWER_S, PORT, ImageContainer
from tests.runtime.containers import SENTINEL

pytestmark = pytest.mark.system

ECHO = "def main(args):\n    return args\n"
KEPT_S = 5  # the proxy closes a connection on which nothing has come for so long
ATTEMPTS = 5
COUNTER = "N = 0\ndef main(args):\n    global N\n    N += 1\n    return {'n': N}\n"


def test_every_answer_has_its_length_and_is_json(container: ImageContainer) -> None:
    """A reply without a length, or in chunks, looks to OpenWhisk like a crash."""
    answers = [
        container.run(),
        container.init(""),
        container.send("POST", "/init", b"{"),
        container.init("raise ValueError\n"),
        container.init("import sys\ndef main(args):\n    return 5 if args else sys.exit()\n"),
        container.init(ECHO),
        container.run({"a": 1}),
        container.send("POST", "/run", b"["),
        container.send("GET", "/run", None),
        container.send("POST", "/nothing", b"{}"),
        container.run(),
        container.run(),
    ]
    assert [answer.status for answer in answers] == [500, 403, 400, 502, 200, 403, 502, 400, 405, 404, 400, 500]
    for answer in answers:
        assert answer.headers["Content-Length"] == str(len(answer.body)), answer
        assert answer.headers["Content-Type"] == "application/json", answer
        assert "Transfer-Encoding" not in answer.headers
        assert answer.body.endswith(b"\n") and isinstance(answer.json, dict)


def test_a_health_check_is_a_connection_and_leaves_no_trace(container: ImageContainer) -> None:
    """OpenWhisk connects to port 8080 and sends nothing, to prewarmed containers every three seconds."""
    assert container.run().status == 500

    def check() -> None:
        for _ in range(200):
            socket.create_connection((container.address, PORT), timeout=ANSWER_S).close()

    check()
    assert container.init(COUNTER).status == 200
    checking = threading.Thread(target=check)
    checking.start()
    assert [container.run().json["n"] for _ in range(5)] == [1, 2, 3, 4, 5]
    checking.join()
    assert container.printed() == (f"{SENTINEL}\n" * 5, f"{SENTINEL}\n" * 5)


def test_a_container_that_was_paused_goes_on_where_it_was(container: ImageContainer) -> None:
    assert container.init(COUNTER).status == 200
    assert container.run().json == {"n": 1}
    container.handle.pause()
    container.handle.unpause()
    answer = container.run()
    assert (answer.json, answer.sentinels) == ({"n": 2}, (1, 1))


def test_a_kept_connection_outlives_a_pause(container: ImageContainer) -> None:
    """Clients that keep connections, as Pekko's does, may send the next request on one that was there before."""
    assert container.init(COUNTER).status == 200
    for number in range(1, ATTEMPTS + 1):
        with contextlib.closing(http.client.HTTPConnection(container.address, PORT, timeout=ANSWER_S)) as connection:
            assert _counted(connection) == b'{"n": %d}\n' % number
            answered_s = time.monotonic()
            container.handle.pause()
            container.handle.unpause()
            if time.monotonic() - answered_s < KEPT_S / 2:
                assert _counted(connection) == b'{"n": %d}\n' % (number + 1)
                return
    pytest.fail(f"the engine took more than {KEPT_S / 2:g} s for a pause, {ATTEMPTS} times")


def _counted(connection: http.client.HTTPConnection) -> bytes:
    connection.request("POST", "/run", b"{}", {"Content-Type": "application/json"})
    return connection.getresponse().read()
