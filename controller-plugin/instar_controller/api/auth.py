"""Who is asking: Basic authentication against the identities in the store.

One rule: a wrong uuid and a wrong key are refused alike. What the caller may do is decided in `entitlement`.
"""

from __future__ import annotations

import base64
import binascii

from instar_controller.api import identities
from instar_controller.errors import UnauthenticatedError
from instar_controller.ports import Store
from instar_controller.whisk.identity import Identity

CHALLENGE = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
MISSING = "The resource requires authentication, which was not supplied with the request"
INVALID = "The supplied authentication is invalid"


def authenticate(header: str | None, store: Store) -> Identity:
    """The identity that the `Authorization` header proves. Raises `UnauthenticatedError`."""
    if not header:
        raise UnauthenticatedError(MISSING)
    uuid, key = _credentials(header)
    identity = identities.find(store, uuid)
    if identity is None or not identity.is_proved_by(key):
        raise UnauthenticatedError(INVALID)
    return identity


def _credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise UnauthenticatedError(INVALID)
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise UnauthenticatedError(INVALID) from None
    uuid, _, key = text.partition(":")
    return uuid, key
