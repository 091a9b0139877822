"""The HTTP server of operations answers as the stock invoker's was recorded, and probes and Prometheus beside."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instar_controller.cluster_settings import OperationsSettings
from instar_controller.errors import SettingsError
from instar_controller.operations import Operations, OperationsServer

RECORDED = Path(__file__).parents[2] / "recorded" / "invoker-server.json"
WAIT_S = 60.0  # for an answer, on a machine that may stand still for a while
PROOF = {"Authorization": "Basic " + base64.b64encode(b"invoker.user:invoker.pass").decode()}


class Switch:
    is_enabled = True

    def enable(self) -> None:
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False


class Asked:
    """A server on a free port, and what it is told."""

    def __init__(self) -> None:
        self.switch = Switch()
        self.ailments: list[str] = []
        self.obstacles: list[str] = []
        self.server = OperationsServer(OperationsSettings(port=0))
        self.server.start(
            Operations("invoker0", self.switch, lambda: b"x 1\n", lambda: self.ailments, lambda: self.obstacles)
        )

    def ask(self, method: str, target: str, headers: dict[str, str] | None = None) -> tuple[int, Any, str]:
        connection = http.client.HTTPConnection(self.server.url.removeprefix("http://"), timeout=WAIT_S)
        try:
            connection.request(method, target, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.server.close()


def test_the_recorded_requests_are_answered_as_recorded(asked: Asked) -> None:
    for recording in json.loads(RECORDED.read_text(encoding="utf-8")):
        for exchange in recording["exchanges"]:
            request, expected = exchange["request"], exchange["response"]
            wanted = dict(expected["headers"])
            id = {"X-Request-ID": wanted["X-Request-ID"]}
            # The recording leaves the credentials out; its names tell which request had none.
            proof = {} if "without credentials" in recording["name"] else PROOF
            status, headers, body = asked.ask(request["method"], request["target"], {**id, **proof})
            assert (status, body) == (expected["status"], expected["body"]["text"]), recording["name"]
            for name in ("Content-Type", "Content-Length", "X-Request-ID"):
                assert headers[name].lower() == wanted[name].lower(), recording["name"]


@pytest.mark.parametrize(
    "proof",
    ["", "Basic", "Basic %%%", "Bearer x", "Basic " + base64.b64encode(b"invoker.user:wrong").decode(),
     "Basic " + base64.b64encode(b"invoker.user").decode(), "Basic 4pi6", "Basic /////w=="],
)  # fmt: skip
def test_nobody_turns_it_off_without_the_password(asked: Asked, proof: str) -> None:
    status, headers, _ = asked.ask("POST", "/disable", {"Authorization": proof} if proof else {})
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic ")
    assert asked.switch.is_enabled


def test_it_lives_and_is_ready_while_nothing_is_wrong(asked: Asked) -> None:
    assert asked.ask("GET", "/livez")[::2] == (200, "ok")
    assert asked.ask("GET", "/readyz")[::2] == (200, "ok")


def test_it_says_why_not(asked: Asked) -> None:
    asked.obstacles += ["the bus does not answer", "the database does not answer"]
    assert asked.ask("GET", "/readyz")[::2] == (503, "the bus does not answer\nthe database does not answer")
    assert asked.ask("GET", "/livez")[0] == 200
    asked.ailments.append("nothing reads invoker0")
    assert asked.ask("GET", "/livez")[::2] == (503, "nothing reads invoker0")


def test_metrics_are_prometheus_text(asked: Asked) -> None:
    status, headers, body = asked.ask("GET", "/metrics")
    assert (status, body) == (200, "x 1\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/", 404), ("GET", "/enable", 405), ("POST", "/ping", 405), ("GET", "/api/v1", 404)],
)
def test_there_is_nothing_else(asked: Asked, method: str, target: str, status: int) -> None:
    found, headers, body = asked.ask(method, target, PROOF)
    assert found == status
    assert json.loads(body)["code"] == headers["X-Request-ID"]


def test_a_port_that_is_taken_is_an_error_with_a_way_out(asked: Asked) -> None:
    port = int(asked.server.url.rpartition(":")[2])
    with pytest.raises(
        SettingsError, match=f"cannot listen on port {port} of 127.0.0.1: .*choose another with --port"
    ):
        OperationsServer(OperationsSettings(port=port))


def test_it_listens_where_it_is_told() -> None:
    server = OperationsServer(OperationsSettings(host="127.0.0.3", port=0))
    assert server.url.startswith("http://127.0.0.3:")
    server.close()
