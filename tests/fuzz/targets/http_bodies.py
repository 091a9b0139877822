"""The bodies of `/init`, `/transform` and `/run`, as proxy and worker read them.

The promise: `/init`'s is an `Init` or a `BadRequest`, whose environment a process can have; `/transform`'s the same,
with a plan that is an object and a mark that is a line; `/run`'s is an answer that a client can read, JSON and a
newline, or a refusal. The function under it hands back what it was given.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from unittest import mock

from instar.action import worker
from instar.action.frames import Finished, Refused
from instar.proxy.requests import BadRequest, parse_init, parse_transform
from tests.fuzz import mutations
from tests.fuzz.targets import Target

RECORDED = Path(__file__).parents[2] / "recorded" / "runtime" / "exchanges.json"
WORDS = (
    "value",
    "plan",
    "mark",
    "code",
    "main",
    "binary",
    "env",
    "name",
    "api_key",
    "activation_id",
    "UEsDBA==",
    "é",
    "__OW_X",
)
RESULT_BYTES = 1 << 16


def check(data: bytes) -> None:
    with mock.patch.dict(os.environ):
        try:
            init = parse_init(data)
        except BadRequest as refusal:
            assert refusal.status in (400, 403)
            refusal.text.encode("utf-8", "replace")
        else:
            os.environ.update(init.environ)
        with contextlib.suppress(BadRequest):
            asked = parse_transform(data)
            assert asked.mark.isprintable() and (asked.plan is None or isinstance(json.loads(asked.plan), dict))
        answer = worker.call(lambda value: value, data, result_bytes=RESULT_BYTES)
        match answer:
            case Finished(body):
                assert body.endswith(b"\n") and isinstance(json.loads(body), dict | list | None)
                assert len(body) <= RESULT_BYTES
            case Refused(status, error):
                assert status in (400, 502) and error


def seeds() -> Iterable[bytes]:
    for exchange in json.loads(RECORDED.read_text()):
        if exchange["body"]:
            yield exchange["body"].encode()
    yield b'{"value":{"code":"def main(args): ...","env":{"__OW_NAMESPACE":"a"}},"plan":{"steps":[1.5]},"mark":"m"}'


def mutate(random: Random, data: bytes) -> bytes | None:
    return mutations.change(random, data, words=WORDS)


TARGET = Target(check, seeds, mutate)
