"""What a stock invoker sent, byte for byte, against the image: the answers are those that it got then."""

from __future__ import annotations

import json
import re
import socket
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploy.image.engine import Engine

from tests.image.containers import ANSWER_S, PORT, ImageContainer

pytestmark = pytest.mark.system

FILE = Path(__file__).parents[1] / "recorded" / "runtime" / "invoker.json"
BY_CONTAINER: dict[str, list[dict[str, str]]] = defaultdict(list)
for one in json.loads(FILE.read_text()):
    BY_CONTAINER[one["container"]].append(one)
ENVIRON = {"__OW_API_HOST": "https://openwhisk.example.org", "__OW_ALLOW_CONCURRENT": "false"}
STOCK_ONLY = {"__OW_EXECUTION_ENV", "__OW_PROXY_VERSION", "__OW_WAIT_FOR_ACK"}


@pytest.fixture(scope="module")
def booting(engine: Engine, image: str) -> Iterator[Callable[[], ImageContainer]]:
    """Hands out containers with the invoker's environment, and has the next one boot meanwhile."""
    waiting: deque[ImageContainer] = deque()

    def take() -> ImageContainer:
        while len(waiting) < 2:
            waiting.append(ImageContainer(engine.client, image, environ=ENVIRON))
        return waiting.popleft()

    yield take
    for container in waiting:
        container.close()


@pytest.fixture
def container(booting: Callable[[], ImageContainer]) -> Iterator[ImageContainer]:
    container = booting()
    yield container
    container.close()


def exchange(container: ImageContainer, request: bytes) -> bytes:
    """Send these bytes on a connection of their own; everything that comes back until the answer is complete."""
    with socket.create_connection((container.address, PORT), timeout=ANSWER_S) as connection:
        connection.sendall(request)
        answer = b""
        while not _is_complete(answer):
            piece = connection.recv(65536)
            assert piece, f"the connection ended after {answer!r}"
            answer += piece
        return answer


def _is_complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= _length(head)


def _length(head: bytes) -> int:
    found = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    assert found, f"no Content-Length in {head!r}"
    return int(found[1])


def parts(message: bytes) -> tuple[int, str, str]:
    """Status, content type and body of an answer, whose stated length is its body's."""
    head, _, body = message.partition(b"\r\n\r\n")
    assert len(body) == _length(head)
    kind = re.search(rb"\r\nContent-Type: (.*?)(\r\n|$)", head)
    assert kind and b"Transfer-Encoding" not in head
    return int(head.split()[1]), kind[1].decode(), body.decode()


def _without_stock_variables(body: str) -> str:
    document = json.loads(body)
    document["env"] = {name: value for name, value in sorted(document["env"].items()) if name not in STOCK_ONLY}
    return json.dumps(document)


# What differs, by container, each a row of docs/differences.md. First, variables that speak of the stock image.
NORMAL: dict[str, Callable[[str], str]] = {"env": _without_stock_variables, "withkey": _without_stock_variables}
# Then, a function that asks for more memory than there is may be told so instead of being killed.
TOLD = {"oom": (200, "application/json", '{"error": ""}\n')}


@pytest.mark.parametrize("name", BY_CONTAINER)
def test_an_invokers_requests_are_answered_as_by_the_stock_image(container: ImageContainer, name: str) -> None:
    container.send("GET", "/ready", None)  # tried again while nobody listens, as the invoker does
    for one in BY_CONTAINER[name]:
        status, kind, body = parts(exchange(container, one["request"].encode()))
        wanted_status, wanted_kind, wanted_body = parts(one["response"].encode())
        normal = NORMAL.get(name, str) if "/run" in one["request"][:10] else str
        wanted = wanted_status, wanted_kind, normal(wanted_body)
        assert (status, kind, normal(body)) in (wanted, TOLD.get(name)), one["label"]
