"""What a message's parameters become: the content of `/run` and the environment of `/init`."""

from __future__ import annotations

import base64
import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from wire_recordings import exchanges, messages
from wire_strategies import json_values

from instar_controller.errors import MalformedError, SettingsError
from instar_controller.whisk import activation_message, locked
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.locked import AES_128, AES_256
from instar_controller.whisk.values import Json, compact

KEYS = {AES_128: bytes(range(16)), AES_256: bytes(range(32))}
VECTORS = {AES_128: 12, AES_256: 128}
MESSAGES = {
    message.activation_id: message
    for message in (activation_message.parse(recorded.text.encode()) for recorded in messages("invoker0"))
}


def sealed(value: Json, algorithm: str, *, vector_bytes: int | None = None, key: bytes | None = None) -> str:
    """`value`, locked as OpenWhisk does it."""
    vector = os.urandom(vector_bytes or VECTORS[algorithm])
    ciphertext = AESGCM(key or KEYS[algorithm]).encrypt(vector, compact(value).encode(), None)
    return base64.b64encode(len(vector).to_bytes(4, "big") + vector + ciphertext).decode()


def message(content: Json, init: tuple[str, ...] = (), **locks: str) -> ActivationMessage:
    any_message = next(iter(MESSAGES.values()))
    return replace(any_message, content=content, init_args=init, locked_args=locks)


def test_containers_get_what_the_stock_invoker_sent_them() -> None:
    runs = {body["activation_id"]: body["value"] for _, body in exchanges("/run")}
    inits = {body["value"]["env"]["__OW_ACTIVATION_ID"]: body["value"]["env"] for _, body in exchanges("/init")}
    run, initialised = 0, 0
    for id, asked in MESSAGES.items():
        content, environment = locked.merged(asked, {})
        if id in runs:
            assert content == runs[id], asked
            run += 1
        if id in inits:
            own = {key: text for key, text in inits[id].items() if not key.startswith("__OW_")}
            assert environment == own, asked
            initialised += 1
    assert run > 25 and initialised > 20


def test_init_parameters_leave_the_content_and_become_texts() -> None:
    content: Json = {"a": "text", "b": None, "c": True, "d": 1.5, "e": {"x": [1, "ü"]}, "f": [], "g": 1}
    assert locked.merged(message(content, ("a", "b", "c", "d", "e", "f", "missing")), {}) == (
        {"g": 1},
        {"a": "text", "b": "", "c": "true", "d": "1.5", "e": '{"x":[1,"ü"]}', "f": "[]"},
    )


def test_an_array_has_no_init_parameters() -> None:
    assert locked.merged(message([1, "a"], ("a",)), {}) == ([1, "a"], {})


def test_a_message_without_content_calls_with_an_empty_object() -> None:
    assert locked.merged(message(None), {}) == ({}, {})


@pytest.mark.parametrize("algorithm", [AES_128, AES_256])
@settings(deadline=None)  # other work on the machine is not the cipher's
@given(value=json_values())
def test_a_locked_value_is_opened(algorithm: str, value: Json) -> None:
    asked = message({"secret": sealed(value, algorithm), "open": 1}, secret=algorithm)
    assert locked.merged(asked, KEYS) == ({"secret": value, "open": 1}, {})


def test_a_locked_value_may_be_an_init_parameter() -> None:
    opened = locked.merged(message({"p": sealed("s3cret", AES_256)}, ("p",), p=AES_256), KEYS)
    assert opened == ({}, {"p": "s3cret"})


def test_what_took_the_place_of_a_locked_value_is_left_alone() -> None:
    assert locked.merged(message({"p": 7}, p=AES_128), KEYS) == ({"p": 7}, {})


@pytest.mark.parametrize(
    ("value", "algorithm", "what"),
    [
        (sealed("x", AES_128), "aes-512", "for which there is no key here"),
        (sealed("x", AES_128, key=bytes(16)), AES_128, "another aes-128 key, or is damaged"),
        (sealed("x", AES_256), AES_128, "its vector has 128 bytes, not 12"),
        ("not base64!", AES_128, "is no value locked"),
        ("", AES_128, "is no value locked"),
        (base64.b64encode(b"\xff\xff\xff\xff").decode(), AES_128, "its vector has -1 bytes"),
        (base64.b64encode(b"\0\0\0\x0c" + bytes(12)).decode(), AES_128, "another aes-128 key, or is damaged"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_opened_is_no_argument(value: str, algorithm: str, what: str) -> None:
    with pytest.raises(MalformedError, match=what) as refused:
        locked.merged(message({"p": value}, p=algorithm), KEYS)
    assert "'p'" in str(refused.value)


def test_without_its_key_nothing_is_opened() -> None:
    with pytest.raises(MalformedError, match="for which there is no key here"):
        locked.merged(message({"p": sealed("x", AES_256)}, p=AES_256), {AES_128: KEYS[AES_128]})


def test_a_key_is_checked_when_it_is_read() -> None:
    text = base64.b64encode(KEYS[AES_128]).decode()
    assert locked.parse_key(AES_128, text) == KEYS[AES_128]
    for algorithm, wrong in ((AES_256, text), (AES_128, "?"), ("rot13", text), (AES_128, "")):
        with pytest.raises(SettingsError) as refused:
            locked.parse_key(algorithm, wrong)
        assert text not in str(refused.value)
