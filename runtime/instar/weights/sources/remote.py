"""Weights on whatever else fsspec opens: `s3://`, `gs://`, `memory://` and the like."""

from __future__ import annotations

from instar.errors import SourceError
from instar.weights.sources.places import Url
from instar.weights.sources.ports import Limits, Reader


class RemoteOrigin:
    in_order = False

    def __init__(self, url: Url, *, nbytes: int | None, limits: Limits | None = None) -> None:
        self.location = url.shown
        raise SourceError(f"cannot read weights from {url.shown}: {url.scheme}:// is not read yet")

    def reader(self) -> Reader:
        raise NotImplementedError

    def whole(self, limit_bytes: int) -> bytes:
        raise NotImplementedError
