"""Who may invoke: a subject with its namespace, its key and the namespace's own limits.

One rule: a key is the pair `uuid:key`, the uuid finds it and the key proves it; nobody else is told which
part was wrong. Where identities are kept is the store's business.
"""

from __future__ import annotations

import hmac
import secrets
import string
import uuid
from dataclasses import dataclass, field

from instar_controller.whisk.limits import NamespaceLimits

_ALPHABET = string.ascii_letters + string.digits
KEY_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """One subject in one namespace. `repr` keeps the key to itself."""

    subject: str
    namespace: str
    uuid: str
    key: str = field(repr=False)
    limits: NamespaceLimits = field(default_factory=NamespaceLimits)

    @property
    def api_key(self) -> str:
        """The key as clients write it."""
        return f"{self.uuid}:{self.key}"

    def is_proved_by(self, key: str) -> bool:
        """Whether `key` is this identity's, in a time that does not tell how much of it was right."""
        return hmac.compare_digest(self.key.encode(), key.encode())


def generate(namespace: str) -> Identity:
    """A new identity for `namespace`, whose subject has the same name, with a fresh random key."""
    key = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_CHARACTERS))
    return Identity(subject=namespace, namespace=namespace, uuid=str(uuid.uuid4()), key=key)
