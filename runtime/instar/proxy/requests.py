"""What `/init` and `/transform` ask for, parsed.

The rule: a body becomes an `Init` or a `BadRequest`; the rest of the proxy never looks at JSON of strangers.
Statuses and texts are OpenWhisk's where it has them; what it says in terms of Go's types is said in JSON's.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from instar.action.environment import variables
from instar.plan import plans

MISSING_CODE = "Missing main/no code to execute."

MARK_CHARACTERS = 256

Owner = tuple[str, str]  # the namespace that a function runs for, and the one that its action belongs to

_MARK = re.compile(rf"[!-~]([ -~]{{0,{MARK_CHARACTERS - 1}}})\Z")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/\r\n]")

# JSON's words for what json.loads returns
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


class BadRequest(Exception):
    """A body that is refused before anything is touched."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Init:
    """A function to become."""

    code: bytes  # source text, zip or tar.gz
    main: str
    environ: Mapping[str, str]

    @property
    def owner(self) -> Owner | None:
        """Whose function it is; `None` if that is not said, and then it is nobody else's, too."""
        namespace = self.environ.get("__OW_NAMESPACE", "")
        _, slash, name = self.environ.get("__OW_ACTION_NAME", "").partition("/")
        return (namespace, name.partition("/")[0]) if namespace and slash else None


@dataclass(frozen=True, slots=True)
class Transform:
    """A function to become instead of the one that there is."""

    init: Init
    plan: bytes | None  # as `plans.encode` wrote it, if it is one; without it nothing is kept
    mark: str  # the line that parts the two functions' logs


def parse_init(body: bytes) -> Init:
    """Raises `BadRequest`."""
    return _init(_parse(body))


def parse_transform(body: bytes) -> Transform:
    """Raises `BadRequest`."""
    document = _parse(body)
    plan = _field(document, "plan", dict, None)
    # Written anew as it was written: what is read of it is decided by `plans.decode`, which takes one text only.
    text = None if plan is None else json.dumps(plan, separators=(",", ":")).encode("ascii")
    if text is not None and len(text) > plans.MAX_BYTES:
        raise BadRequest(400, f"the plan has {len(text)} bytes; at most {plans.MAX_BYTES} are taken: send none")
    mark = _field(document, "mark", str, "")
    if not _MARK.match(mark):
        raise BadRequest(
            400, f"the mark is {mark[:100]!r}, not one line of 1 to {MARK_CHARACTERS} printable characters"
        )
    return Transform(_init(document), text, mark)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, f"Error unmarshaling request: {_reason(error)}") from error
    return _object("the body", document)


def _init(document: dict[str, Any]) -> Init:
    value = _field(document, "value", dict, {})
    main = _field(value, "main", str, "") or "main"
    code = _field(value, "code", str, "")
    binary = _field(value, "binary", bool, False)
    try:
        environ = variables(_field(value, "env", dict, {}))
    except ValueError as error:
        raise BadRequest(400, f"Error unmarshaling request: env: {error}") from error
    if not code:
        raise BadRequest(403, MISSING_CODE)
    return Init(_decode(code) if binary else code.encode("utf-8", "surrogatepass"), main, environ)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip()):
        return "unexpected end of JSON input"
    return str(error)


def _decode(code: str) -> bytes:
    """The bytes of base64 text, in which line breaks mean nothing."""
    try:
        is_broken = "\n" in code or "\r" in code  # to look is quick, and to copy 20 MB takes 20 ms
        return base64.b64decode(code.replace("\r", "").replace("\n", "") if is_broken else code, validate=True)
    except (binascii.Error, ValueError) as error:
        foreign = _NOT_BASE64.search(code)
        at = foreign.start() if foreign else len(code)  # where there is none, the end is missing
        raise BadRequest(400, f"cannot decode the request: illegal base64 data at input byte {at}") from error


def _object(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(400, f"Error unmarshaling request: {what} is {_KINDS[type(value)]}, not an object")
    return value


def _field(document: dict[str, Any], name: str, kind: type, absent: Any) -> Any:
    """The field `name`; null counts as absent, as it does in Go."""
    value = document.get(name)
    if value is None:
        return absent
    if not isinstance(value, kind):
        raise BadRequest(400, f"Error unmarshaling request: {name} is {_KINDS[type(value)]}, not {_KINDS[kind]}")
    return value
