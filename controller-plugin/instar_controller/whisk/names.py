"""Names of entities and namespaces: what they may look like.

One rule: a name that passed here is safe in a path, in an environment variable and in a document's key.
"""

from __future__ import annotations

import re

from instar_controller.errors import MalformedError

MAX_CHARACTERS = 256
OWN = "_"  # in a path: the caller's own namespace

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_@ .&-]*[A-Za-z0-9_@.&-])?")
ILLEGAL = "The name of the entity contains illegal characters."


def check(name: str) -> str:
    """`name`, if an entity may be called so. Raises `MalformedError`."""
    if len(name) > MAX_CHARACTERS:
        raise MalformedError(f"Name longer than allowed: {len(name)} > {MAX_CHARACTERS}.")
    if not _NAME.fullmatch(name):
        raise MalformedError(ILLEGAL)
    return name


def resolve_namespace(text: str, *, own: str) -> str:
    """The namespace that a path or a reference names: `_` is the caller's own. Raises `MalformedError`."""
    if text in (OWN, own):
        return own
    if len(text) > MAX_CHARACTERS or not _NAME.fullmatch(text):
        raise MalformedError("The namespace contains illegal characters.")
    return text


def check_filter(value: str) -> str:
    """`value`, if it is `name` or `package/name`, as a list of activations takes. Raises `MalformedError`."""
    parts = value.split("/")
    if len(parts) <= 2 and all(_NAME.fullmatch(part) for part in parts):
        return value
    raise MalformedError.query("name", f"Parameter may be a 'simple' name or 'package-name/simple' name: {value}")
