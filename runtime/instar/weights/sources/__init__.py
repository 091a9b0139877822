"""Where weights lie before they are on the node: a path, an HTTP server, or whatever else fsspec opens.

`origin` says what is at a location; its readers give bytes to the threads of one transfer, and trying again is up to
them. `read` gives a small file whole. Nothing here knows a digest.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from pathlib import Path

from instar.errors import SourceError, TransientError
from instar.weights import retry
from instar.weights.retry import Patience
from instar.weights.sources import places
from instar.weights.sources.http import HttpOrigin
from instar.weights.sources.local import LocalOrigin
from instar.weights.sources.ports import Limits, Origin, Reader

__all__ = ["Limits", "Origin", "Reader", "origin", "read"]

READING = Patience(deadline_s=30.0)  # of a small file that an action's `/init` waits for


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
    try:
        from instar.weights.sources.remote import RemoteOrigin  # fsspec takes 50 ms to import
    except ImportError as error:
        raise SourceError(f"cannot read weights from {place.shown}: {error}; pip install fsspec") from error
    return RemoteOrigin(place, nbytes=nbytes, limits=limits)


def read(location: Path | str, *, limit_bytes: int, environ: Mapping[str, str]) -> bytes:
    """Everything at a location, after several tries if need be. Raises `SourceError`, also for too many bytes."""
    place = origin(location, nbytes=None, environ=environ)
    began_s, failures = time.monotonic(), 0
    while True:
        try:
            with contextlib.closing(place.reader()) as reader:
                return reader.whole(limit_bytes)
        except TransientError as error:
            failures += 1
            delay_s = retry.delay_s(
                failures,
                time.monotonic() - began_s,
                READING,
                retry_after_s=error.retry_after_s,
                draw=random.random(),
            )
            if delay_s is None:
                raise SourceError(f"{error} (tried {failures} times)") from error
        time.sleep(delay_s)
