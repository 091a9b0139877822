"""Bodies of requests: read within a bound, of the right type, parsed strictly.

One rule: nothing of a body is looked at before its caller is known, and nothing above a bound is kept.
"""

from __future__ import annotations

import json

from flask import request

from instar_controller.errors import MalformedError, MediaTypeError, TooLargeError
from instar_controller.whisk.values import Json, parse

_SHOWN_CHARACTERS = 80


def read_json() -> Json:
    """The body of the current request. Raises `MalformedError` or `MediaTypeError`."""
    body = request.get_data(cache=False)
    if not body:
        raise MalformedError("Request entity expected but not supplied")
    return _parse(body)


def read_json_or_nothing(*, limit_bytes: int) -> Json:
    """The body of the current request; None if there is none.

    Raises `TooLargeError` above `limit_bytes`, `MalformedError` or `MediaTypeError`.
    """
    _check_size(request.content_length or 0, limit_bytes)
    body = request.get_data(cache=False)
    _check_size(len(body), limit_bytes)  # a chunked body does not say its length before
    return _parse(body) if body else None


def _check_size(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise TooLargeError(f"Request larger than allowed: {size} > {limit_bytes} bytes.")


def _parse(body: bytes) -> Json:
    if request.mimetype != "application/json":
        given = request.content_type or "application/octet-stream"
        raise MediaTypeError(f"The request's Content-Type [{given}] is not supported. Expected:\napplication/json")
    try:
        return parse(body)
    except json.JSONDecodeError as error:
        raise MalformedError.content(_pointed(error)) from error
    except ValueError as error:
        raise MalformedError.content(str(error)) from error


def _pointed(error: json.JSONDecodeError) -> str:
    """What is wrong, and the line with a mark under the place."""
    start = error.doc.rfind("\n", 0, error.pos) + 1
    begin = max(start, error.pos - _SHOWN_CHARACTERS)
    line = error.doc[begin : error.pos + _SHOWN_CHARACTERS].split("\n", 1)[0]
    place = f"input index {error.pos} (line {error.lineno}, position {error.colno})"
    return f"{error.msg} at {place}:\n{line}\n{' ' * (error.pos - begin)}^\n"
