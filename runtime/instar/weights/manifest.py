"""What a package says of its weights file: enough to fetch it from anywhere and to know that it is the right one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights file: its size, SHA-256 of each chunk, and where it lies if not beside `model.json`."""

    size: int
    chunk_bytes: int
    chunks: tuple[str, ...]
    uri: str | None = None

    @property
    def digest(self) -> str:
        """The file's address in a store: SHA-256 over size, chunk size and the chunks' digests."""
        text = f"{self.size}:{self.chunk_bytes}:{','.join(self.chunks)}"
        return hashlib.sha256(text.encode()).hexdigest()
