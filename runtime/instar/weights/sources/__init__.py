"""Where weights lie before they are on the node: a path, an HTTP server, or whatever else fsspec opens.

`origin` says what is at a location; its readers give bytes to the threads of one transfer. Nothing here waits between
tries, or knows a digest: that is `weights/retry.py` and who fetches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from instar.weights.sources import places
from instar.weights.sources.http import HttpOrigin
from instar.weights.sources.local import LocalOrigin
from instar.weights.sources.ports import Limits, Origin, Reader

__all__ = ["Limits", "Origin", "Reader", "origin", "read"]


def origin(
    location: Path | str, *, nbytes: int | None, environ: Mapping[str, str], limits: Limits | None = None
) -> Origin:
    """What is at a location; nothing is opened yet.

    `nbytes` is the size that was packed, None for any. Credentials come from `environ`, the node's. Raises
    `SourceError` for a location that can never be read: no such scheme, a chain, credentials in the URL.
    """
    place = places.parse(location)
    if isinstance(place, Path):
        return LocalOrigin(place, nbytes=nbytes)
    if place.scheme in ("http", "https"):
        return HttpOrigin(place, nbytes=nbytes, environ=environ, limits=limits)
    from instar.weights.sources.remote import RemoteOrigin  # fsspec takes 50 ms to import

    return RemoteOrigin(place, nbytes=nbytes, limits=limits)


def read(location: Path | str, *, limit_bytes: int, environ: Mapping[str, str]) -> bytes:
    """Everything at a location. Raises `SourceError`, also for more than `limit_bytes`."""
    return origin(location, nbytes=None, environ=environ).whole(limit_bytes)
