"""Weights, packages that ask for them, and code of actions that carries those; no model can be run with them."""

from __future__ import annotations

import base64
import io
import json
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from instar import digests, package
from instar.weights.manifest import Weights

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Parcel:
    """The bytes of a weights file, what a package says of it, and its one tensor."""

    data: bytes
    weights: Weights

    def model_json(self) -> bytes:
        tensor_bytes = (len(self.data) - 1) // 64 * 64  # the last byte or more is in none
        digest = digests.hexdigest(self.data[:tensor_bytes])
        document = {
            "format": package.FORMAT,
            "version": package.VERSION,
            "producer": "a test",
            "weights": {
                "size": self.weights.size,
                "chunk_bytes": self.weights.chunk_bytes,
                **({} if self.weights.uri is None else {"uri": self.weights.uri}),
                "chunks": list(self.weights.chunks),
            },
            "tensors": [["w", "uint8", [tensor_bytes], [1], 0, tensor_bytes, digest]],
            "graph": {"nodes": []},
        }
        return json.dumps(document).encode()


def parcel(nbytes: int = 5 * CHUNK_BYTES + 100, *, uri: str | None = None, seed: int = 0) -> Parcel:
    return of(random.Random(seed).randbytes(nbytes), uri=uri)


def of(data: bytes, *, uri: str | None) -> Parcel:
    nbytes = len(data)
    chunks = tuple(digests.hexdigest(data[at : at + CHUNK_BYTES]) for at in range(0, nbytes, CHUNK_BYTES))
    return Parcel(data, Weights(nbytes, CHUNK_BYTES, chunks, uri))


def archive(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> str:
    """A zip in base64, as an action's code is stored."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as writer:
        for name, data in files.items():
            writer.writestr(name, data)
    return base64.b64encode(packed.getvalue()).decode()
