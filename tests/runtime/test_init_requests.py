"""What `/init` accepts and refuses, without a process."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from instar.proxy.requests import BadRequest, Init, parse_init


def parse(**value: Any) -> Init:
    return parse_init(json.dumps({"value": value}).encode())


def refused(body: bytes) -> tuple[int, str]:
    with pytest.raises(BadRequest) as error:
        parse_init(body)
    return error.value.status, error.value.text


def test_all_but_code_may_be_absent_or_null() -> None:
    assert parse(code="x") == Init(b"x", "main", {})
    assert parse(code="x", main=None, env=None, binary=None, name=None) == Init(b"x", "main", {})
    assert parse(code="x", main="").main == "main"


def test_binary_code_is_base64() -> None:
    assert parse(code=base64.b64encode(b"\0\1").decode(), binary=True).code == b"\0\1"
    assert parse(code="AAAB\r\nAg==\n", binary=True).code == b"\0\0\1\2"


@pytest.mark.parametrize("code, at", [("!!!not base64", 0), ("AAAB\nA*==", 6), ("AAA", 3), ("A=AA", 1)])
def test_damaged_base64_is_refused_with_its_place(code: str, at: int) -> None:
    body = json.dumps({"value": {"code": code, "binary": True}}).encode()
    assert refused(body) == (400, f"cannot decode the request: illegal base64 data at input byte {at}")


def test_variables_that_are_no_text_become_compact_json() -> None:
    env = {"T": "t", "N": 5, "F": 1.5, "B": True, "NULL": None, "O": {"a": [1, "☃"]}}
    wanted = {"T": "t", "N": "5", "F": "1.5", "B": "true", "NULL": "null", "O": '{"a":[1,"☃"]}'}
    assert parse(code="x", env=env).environ == wanted


@pytest.mark.parametrize("code", ["", None])
def test_no_code_is_forbidden(code: str | None) -> None:
    body = json.dumps({"value": {"code": code}}).encode()
    assert refused(body) == (403, "Missing main/no code to execute.")
    assert refused(b"{}")[0] == refused(b'{"value": null}')[0] == 403


@pytest.mark.parametrize(
    "body, says",
    [
        (b"", "unexpected end of JSON input"),
        (b'{"value":', "unexpected end of JSON input"),
        (b'{"value": x', "Expecting value: line 1 column 11"),
        (b'{"\xff"}', "decode"),
        (b"[" * 200_000, "recursion"),
        (b"[]", "the body is an array, not an object"),
        (b'"text"', "the body is a string, not an object"),
        (b'{"value": []}', "value is an array, not an object"),
        (b'{"value": {"code": 5}}', "code is a number, not a string"),
        (b'{"value": {"code": "x", "main": {}}}', "main is an object, not a string"),
        (b'{"value": {"code": "x", "binary": "yes"}}', "binary is a string, not a boolean"),
        (b'{"value": {"code": "x", "env": ["A"]}}', "env is an array, not an object"),
        (b'{"value": {"code": "x", "env": {"A=B": "c"}}}', "'A=B' cannot be an environment variable"),
        (b'{"value": {"code": "x", "env": {"": "c"}}}', "cannot be an environment variable"),
        (b'{"value": {"code": "x", "env": {"A": "\\u0000"}}}', "cannot be an environment variable"),
        (b'{"value": {"code": "x", "env": {"A": "\\ud800"}}}', "surrogates not allowed"),
    ],
)
def test_a_malformed_body_is_a_bad_request(body: bytes, says: str) -> None:
    status, text = refused(body)
    assert status == 400
    assert text.startswith("Error unmarshaling request: ")
    assert says in text
