"""What a package says of its weights file: enough to fetch it from anywhere and to know that it is the right one."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from instar import digests

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights file: its size, the digest of each chunk, and where it lies if not beside `model.json`."""

    size: int
    chunk_bytes: int
    chunks: tuple[str, ...]
    uri: str | None = None
    digest: str = field(init=False, repr=False, compare=False)  # the file's address in a store: of its account

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digests.hexdigest(self.account))

    @property
    def account(self) -> bytes:
        """Size, chunk size and the chunks' digests: all that it takes to tell whether a file is this one."""
        return f"{self.size}:{self.chunk_bytes}:{','.join(self.chunks)}".encode()


def read_account(account: bytes) -> Weights:
    """What an account says. Raises `ValueError` if it is none."""
    size, chunk_bytes, chunks = account.decode("ascii").split(":")
    return Weights(int(size), int(chunk_bytes), tuple(chunks.split(",")))


@dataclass(frozen=True, slots=True)
class Span:
    """Where one tensor's bytes lie in the weights file, and their digest: equal ones need not be fetched twice."""

    offset: int
    nbytes: int
    digest: bytes


_SPAN = struct.Struct(f"<QQ{digests.NBYTES}s")


def pack_spans(spans: Iterable[Span]) -> bytes:
    """All of them in one piece, which is kept and read back without making an object for each."""
    return b"".join(_SPAN.pack(span.offset, span.nbytes, span.digest) for span in spans)


def unpack_spans(packed: bytes) -> Iterator[Span]:
    """What `pack_spans` was given. Raises `struct.error` for anything else."""
    return (Span(*fields) for fields in unpack_fields(packed))


def unpack_fields(packed: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The same as plain tuples, for who looks at very many: offset, bytes, digest."""
    return _SPAN.iter_unpack(packed)
