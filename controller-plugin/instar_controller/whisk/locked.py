"""What a message's parameters become: the content of `/run` and the environment of `/init`, with all locks opened.

One rule: a locked value that cannot be opened is an error, never an argument: a function must not see ciphertext
where it expects a password. The form of a locked value (base64 of the length of the initialisation vector, the
vector, and AES-GCM's ciphertext with its tag, over the value as JSON) is OpenWhisk's.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from instar_controller.errors import MalformedError, SettingsError
from instar_controller.whisk import parameters, values
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.values import Json

AES_128 = "aes-128"
AES_256 = "aes-256"

# By algorithm, the key; an algorithm that is not among them cannot be opened.
Keys = Mapping[str, bytes]

_LENGTH = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class _Sizes:
    key_bytes: int
    vector_bytes: int


_ALGORITHMS = {AES_128: _Sizes(16, 12), AES_256: _Sizes(32, 128)}


def parse_key(algorithm: str, text: str) -> bytes:
    """The key in a setting, which is base64. Raises `SettingsError`; it does not repeat the key."""
    sizes = _ALGORITHMS.get(algorithm)
    if sizes is None:
        raise SettingsError(f"parameters can be locked with {AES_128} and {AES_256}, not with '{algorithm}'")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsError(f"the key for {algorithm} is not base64") from error
    if len(key) != sizes.key_bytes:
        raise SettingsError(f"the key for {algorithm} has {len(key)} bytes; it must have {sizes.key_bytes}")
    return key


def merged(message: ActivationMessage, keys: Keys) -> tuple[Json, dict[str, str]]:
    """The content for `/run` and the environment for `/init` of an activation.

    Parameters that the message calls init parameters are in the latter, as texts. Raises `MalformedError` for a value
    that cannot be unlocked.
    """
    content = message.content
    if content is None:
        return {}, {}
    if not isinstance(content, Mapping):
        return content, {}  # an array has no names
    opened = {
        name: _unlocked(name, value, message.locked_args[name], keys) if name in message.locked_args else value
        for name, value in content.items()
    }
    init = frozenset(message.init_args)
    environment = {name: parameters.environment_text(value) for name, value in opened.items() if name in init}
    return {name: value for name, value in opened.items() if name not in init}, environment


def _unlocked(name: str, value: Json, algorithm: str, keys: Keys) -> Json:
    if not isinstance(value, str):
        return value  # what is locked is a text; this took its place
    sizes, key = _ALGORITHMS.get(algorithm), keys.get(algorithm)
    if sizes is None or key is None:
        raise MalformedError(
            f"the parameter '{name}' is locked with '{algorithm[:40]}', for which there is no key here; "
            "controllers and invokers must have the same keys"
        )
    try:
        sealed = base64.b64decode(value, validate=True)
        (length,) = _LENGTH.unpack_from(sealed)
        if length != sizes.vector_bytes:
            raise ValueError(f"its vector has {length} bytes, not {sizes.vector_bytes}")
        vector, ciphertext = sealed[_LENGTH.size :][:length], sealed[_LENGTH.size + length :]
        return values.parse(AESGCM(key).decrypt(vector, ciphertext, None))
    except InvalidTag as error:
        raise MalformedError(
            f"the parameter '{name}' was locked with another {algorithm} key, or is damaged; "
            "controllers and invokers must have the same keys"
        ) from error
    except (ValueError, struct.error) as error:
        raise MalformedError(f"the parameter '{name}' is no value locked with {algorithm}: {error}") from error
