"""The node's store: weights files under the digest of their content, shared by every container of the node.

The one rule: a file is visible under its digest only when every chunk matched. Files are read-only once they are
there and are never changed, so whoever has mapped one may trust what it reads.

    <root>/weights/<digest>      a whole weights file, mode 0444
    <root>/incoming/…            a file on its way; worthless after a crash, removed by the next arrival
    <root>/compiled/<key>        programs that this node has compiled (`executor/compiled.py`)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from instar import digests
from instar.errors import DigestError, PackageError, SourceError
from instar.weights import source
from instar.weights.manifest import WEIGHTS_FILE, Weights


def default_root(environment: dict[str, str]) -> Path:
    """`$INSTAR_STORE`, or the cache folder that the platform's conventions give."""
    if explicit := environment.get("INSTAR_STORE"):
        return Path(explicit)
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/tmp"), ".cache")
    return Path(cache) / "instar"


class Store:
    """Weights files of one node. Holds no state of its own: the directory is the state."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def weights(self, weights: Weights, package_dir: Path) -> Path:
        """The file that holds exactly these weights, fetched and verified first if the node lacks it.

        The bytes come from `weights.uri`, or from the file beside `model.json`. Raises `SourceError` where they
        cannot be read, `DigestError` where they are not what was packed.
        """
        path = self.root / "weights" / weights.digest
        if not path.exists():
            location = weights.uri if weights.uri is not None else package_dir / WEIGHTS_FILE
            self._fetch(weights, location, path)
        return path

    def _fetch(self, weights: Weights, location: str | Path, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming = self.root / "incoming"
            incoming.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=incoming, prefix=weights.digest[:16])
        except OSError as error:
            raise SourceError(
                f"the node's store {self.root} cannot be written ({error.strerror}); "
                "give it space and permission, or set INSTAR_STORE to another folder"
            ) from error
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in _verified(weights, location):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o444)
            temporary.rename(path)
        except OSError as error:
            raise SourceError(
                f"the node's store {self.root} cannot take {weights.size} bytes of weights ({error.strerror}); "
                "free some space or set INSTAR_STORE to another folder"
            ) from error
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def _verified(weights: Weights, location: str | Path) -> Iterator[bytes]:
    """The chunks at a location, each handed on only after its digest matched."""
    buffer, number, total = bytearray(), 0, 0
    for piece in source.read(location):
        total += len(piece)
        if total > weights.size:
            raise DigestError(f"{location} has more than the {weights.size} bytes that were packed; it was changed")
        buffer += piece
        while len(buffer) >= weights.chunk_bytes:
            yield _match(weights, number, bytes(buffer[: weights.chunk_bytes]), location)
            del buffer[: weights.chunk_bytes]
            number += 1
    if total < weights.size:
        raise DigestError(
            f"{location} ends after {total} of {weights.size} bytes; it was cut short: pack or copy it again"
        )
    if buffer:
        yield _match(weights, number, bytes(buffer), location)


def _match(weights: Weights, number: int, chunk: bytes, location: str | Path) -> bytes:
    found = digests.hexdigest(chunk)
    if found != weights.chunks[number]:
        begin = number * weights.chunk_bytes
        raise DigestError(
            f"{location}: bytes {begin}…{begin + len(chunk) - 1} have the digest {found[:16]}…, "
            f"{weights.chunks[number][:16]}… was packed; the file is damaged: pack or copy it again"
        )
    return chunk


def read_model_json(package_dir: Path, limit: int) -> bytes:
    """The bytes of `model.json` in a package's folder. Raises `PackageError` if there is none that can be read."""
    path = package_dir / "model.json"
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise PackageError(f"{path} has {size} bytes; at most {limit} are read")
            return file.read(limit + 1 if size == 0 else size) or b""
    except OSError as error:
        raise PackageError(f"{path} cannot be read ({error.strerror}); is {package_dir} a model package?") from error
