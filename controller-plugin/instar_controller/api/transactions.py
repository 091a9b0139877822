"""The transaction id of a request: in every answer's header, in every error's body, in every activation.

One rule: the client's own id is taken, unless it looks like one of the system's.
"""

from __future__ import annotations

import secrets
import string

from flask import g, request

HEADER = "X-Request-ID"
_SYSTEM_PREFIX = "sid_"
_ALPHABET = string.ascii_letters + string.digits
_CHARACTERS = 32


def begin() -> None:
    """Give the current request its id."""
    wanted = request.headers.get(HEADER, "")
    g.transaction_id = wanted if wanted and not wanted.startswith(_SYSTEM_PREFIX) else _generate()


def current() -> str:
    """The id of the current request."""
    transaction_id: str = g.transaction_id
    return transaction_id


def _generate() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_CHARACTERS))
