"""What an invoker reads from OpenWhisk's bus and database.

The promise: a message or a document is a `MalformedError`, or it is read as what, written again, is read as the same.
No message is taken for another's. A `StoreError` is for code that is kept where we cannot read, and for nothing else.

The first byte says which of the parsers gets the rest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from instar_controller.errors import MalformedError, StoreError
from instar_controller.whisk import (
    acks,
    activation_message,
    events,
    fields,
    invalidation,
    locked,
    manifest,
    pings,
    stored_action,
    stored_activation,
)
from tests.fuzz import mutations
from tests.fuzz.targets import Target

RECORDED = Path(__file__).parents[2] / "recorded"
TOPICS = ("invoker0", "completed0", "health", "events", "cacheInvalidation")  # in the order of the parsers
KEYS = {locked.AES_128: bytes(16), locked.AES_256: bytes(32)}
WORDS = ("transid", "instance", "response", "content", "lockedArgs", "aes-128", "mem:", "couch:", "sid_unknown", "é")


def check(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        PARSERS[data[0] % len(PARSERS) if data else 0](data[1:])


def _activation_message(data: bytes) -> None:
    message = activation_message.parse(data)
    assert activation_message.parse(message.encode()) == message
    content, environment = locked.merged(message, KEYS)
    assert isinstance(content, dict | list)
    assert all(isinstance(text, str) for text in environment.values())


def _ack(data: bytes) -> None:
    ack = acks.parse(data)
    assert acks.parse(ack.encode()) == ack
    small = acks.shrunk(ack)
    assert acks.parse(small.encode()) == small and small.activation_id == ack.activation_id


def _ping(data: bytes) -> None:
    ping = pings.parse(data)
    assert pings.parse(ping.encode()) == ping


def _event(data: bytes) -> None:
    event = events.parse(data)
    assert events.parse(event.encode()) == event


def _invalidation(data: bytes) -> None:
    message = invalidation.parse(data)
    assert invalidation.parse(message.encode()) == message


def _action(data: bytes) -> None:
    stored = stored_action.parse(fields.decode(data, "a document").all, manifest.DEFAULT)
    try:
        needs = stored.needs
    except StoreError:
        assert b"attachmentName" in data
        return
    assert needs is None or stored.action.exec.code == ""
    assert stored_action.parse(stored.to_json(), manifest.DEFAULT) == stored


def _record(data: bytes) -> None:
    stored = stored_activation.parse(fields.decode(data, "a document").all)
    assert stored_activation.parse(stored.to_json()) == stored


PARSERS: tuple[Callable[[bytes], None], ...] = (
    _activation_message, _ack, _ping, _event, _invalidation, _action, _record,
)  # fmt: skip


def seeds() -> Iterable[bytes]:
    for number, topic in enumerate(TOPICS):
        for entry in json.loads((RECORDED / "kafka" / f"{topic}.json").read_text()):
            if "value" in entry:
                yield bytes([number]) + entry["value"].encode()
    for kind in ("inline", "attachment", "blackbox", "sequence"):
        for entry in json.loads((RECORDED / "couchdb" / f"action-{kind}.json").read_text()):
            document = {**json.loads(entry["sent"]), "_rev": "1-0"}
            yield bytes([PARSERS.index(_action)]) + json.dumps(document).encode()
    for entry in json.loads((RECORDED / "couchdb" / "activation.json").read_text()):
        if "<cut" not in entry["document"]:
            yield bytes([PARSERS.index(_record)]) + entry["document"].encode()


def mutate(random: Random, data: bytes) -> bytes | None:
    changed = mutations.change(random, data[1:], words=WORDS)
    return None if changed is None else data[:1] + changed


TARGET = Target(check, seeds, mutate)
