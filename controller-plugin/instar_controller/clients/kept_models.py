"""How a model is kept beside plans: its `model.json`, compressed; and what is read of it.

One rule: what is damaged, cut short, too long or another model's counts as absent, wherever it was kept.
"""

from __future__ import annotations

import zlib

from instar import package
from instar.errors import PackageError
from instar.plan import outline as outlines
from instar.plan.outline import Outline

LEVEL = 1  # of compression: the fastest; plans and models shrink to a third
MAX_BYTES = package.MAX_JSON_BYTES


def encode(model_json: bytes) -> bytes:
    """What `package.encode` wrote, as `decode` reads it."""
    return zlib.compress(model_json, LEVEL)


def decode(data: bytes | None) -> bytes | None:
    """What `encode` was given; None if these are not its bytes, or it is more than a `model.json` may have."""
    if data is None:
        return None
    stream = zlib.decompressobj()
    try:
        model_json = stream.decompress(data, MAX_BYTES)
    except zlib.error:
        return None
    return model_json if stream.eof else None


def outline(digest: str, model_json: bytes | None) -> Outline | None:
    """What the planner sees of the model of this digest; None if these are not its bytes."""
    if model_json is None:
        return None
    try:
        found = outlines.outline(package.decode(model_json))
    except PackageError:
        return None
    return found if found.digest == digest else None
