"""A login as Kafka's clients in Java are told it, in one line of JAAS:

    org.apache.kafka.common.security.plain.PlainLoginModule required username="who" password="secret";

One rule: an error says what is missing, and shows nothing of the line: it is a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"

_VALUE = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s=;"']+"""
_OPTION = re.compile(rf"\s+([\w.-]+)\s*=\s*({_VALUE})", re.DOTALL)
_LOGIN = re.compile(
    rf"([\w.$]+)\s+(?:required|requisite|sufficient|optional)((?:{_OPTION.pattern})*)\s*;",
    re.DOTALL | re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are, and to which kind of login that belongs."""

    module: str
    username: str
    password: str = field(repr=False)


def parse(line: str) -> Login:
    """The one login of the line. Raises `ValueError`."""
    line = line.strip()
    if not line.endswith(";"):
        raise ValueError("it does not end with a ';'")
    found = _LOGIN.fullmatch(line)
    if found is None:
        raise ValueError(
            "it is not one login module, a word such as 'required', and options of the form name=\"value\""
        )
    options = {name: _plain(value) for name, value in _OPTION.findall(found[2])}
    if missing := [name for name in ("username", "password") if not options.get(name)]:
        raise ValueError(f"it lacks the option {' and '.join(missing)}")
    return Login(found[1], options["username"], options["password"])


def _plain(value: str) -> str:
    """Without the quotation marks around it, and what is escaped between them."""
    return _ESCAPED.sub(r"\1", value[1:-1]) if value[0] in "\"'" else value
