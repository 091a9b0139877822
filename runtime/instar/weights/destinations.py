"""Where weights are put for others to fetch: a folder, an HTTP server that takes PUT, or what fsspec can write to.

The rule: what is put under a name of Instar's own choosing, the digest of the weights, is never another version's;
and nothing is said to be there before it was read back from there.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from instar import digests, whole_files
from instar.errors import DigestError, MissingError, SourceError
from instar.weights import sources
from instar.weights.manifest import Weights
from instar.weights.sources import connections, credentials, places
from instar.weights.sources.places import Url
from instar.weights.sources.ports import Limits

PIECE_BYTES = 1024 * 1024
ANSWER_S = 120.0  # after the last byte: a server may first put its copies in their places

Progress = Callable[[int], object]  # told the number of bytes after each piece


class Found(Enum):
    """What is at a destination."""

    NOTHING = "nothing"
    SAME = "these weights"
    OTHER = "something else"
    UNKNOWN = "what cannot be read from here"


@dataclass(frozen=True, slots=True)
class Destination:
    """One file's place. `uri` is what a package says of it: without a query, which may be a signature."""

    place: Path | Url
    uri: str
    is_named_by_digest: bool


def destination(location: str, weights: Weights) -> Destination:
    """Where weights go; in a folder (one of this machine, or what ends in `/`) they are named by their digest.

    Raises `SourceError` for a location with credentials in it, or none at all.
    """
    path, question, query = location.partition("?") if "://" in location else (location, "", "")
    if not path.endswith("/") and isinstance(folder := places.parse(location), Path) and folder.is_dir():
        path += "/"
    named = path.endswith("/")
    if named:
        path += f"{weights.digest}.safetensors"
    place = places.parse(path + question + query)
    if isinstance(place, Path):
        place = place.absolute()
    return Destination(place, place.as_uri() if isinstance(place, Path) else path.partition("#")[0], named)


def verify(path: Path, weights: Weights, progress: Progress = lambda _: None) -> None:
    """Hold a file against the digests of its chunks. Raises `DigestError` or `SourceError`."""
    reader = sources.origin(path, nbytes=weights.size, environ={}).reader()
    try:
        for number in range(len(weights.chunks)):
            progress(_check_chunk(reader, weights, number, os.fspath(path)))
    finally:
        reader.close()


def look(target: Destination, weights: Weights, environ: Mapping[str, str]) -> tuple[Found, str]:
    """What is there, as those who fetch it would see it, by its size and its first and last chunk; and why."""
    location: Path | str = target.place if isinstance(target.place, Path) else target.uri
    try:
        origin = sources.origin(location, nbytes=None, environ=environ)
        reader = origin.reader()
        try:
            reader.seek(0, min(weights.chunk_bytes, weights.size))
            if origin.nbytes not in (None, weights.size):
                return Found.OTHER, f"it has {origin.nbytes} bytes instead of {weights.size}"
            for number in sorted({0, len(weights.chunks) - 1}):
                _check_chunk(reader, weights, number, origin.location)
        finally:
            reader.close()
    except MissingError as error:
        return Found.NOTHING, str(error)
    except DigestError as error:
        return Found.OTHER, str(error)
    except SourceError as error:
        return Found.UNKNOWN, str(error)
    return Found.SAME, ""


def put(path: Path, target: Destination, environ: Mapping[str, str], progress: Progress = lambda _: None) -> None:
    """Write a file there, over what is there. Raises `SourceError`."""
    place = target.place
    if isinstance(place, Path):
        _put_file(path, place, progress)
    elif place.scheme in ("http", "https"):
        _put_http(path, place, environ, progress)
    else:
        _put_remote(path, place, progress)


def _check_chunk(reader: sources.Reader, weights: Weights, number: int, where: str) -> int:
    begin = number * weights.chunk_bytes
    data = bytearray(min(weights.chunk_bytes, weights.size - begin))
    reader.seek(begin, len(data))
    reader.read(memoryview(data))
    found = digests.hexdigest(data)
    if found != weights.chunks[number]:
        raise DigestError(
            f"{where}: bytes {begin}…{begin + len(data) - 1} have the digest {found[:16]}…, "
            f"{weights.chunks[number][:16]}… was packed; the file is damaged or another one"
        )
    return len(data)


def _put_file(path: Path, place: Path, progress: Progress) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_files.written(place, 0o444) as file:
            for piece in _pieces(path, progress):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritten(os.fspath(place), f"{error.strerror}; give it space and permission") from error


def _put_http(path: Path, url: Url, environ: Mapping[str, str], progress: Progress) -> None:
    tls = connections.trusting(environ) if url.scheme == "https" else None
    limits = Limits()
    connection = connections.unopened(url, limits, tls)
    headers = {**connections.SAID, "Content-Length": str(path.stat().st_size)}
    headers["Content-Type"] = "application/octet-stream"
    if authorization := credentials.authorization(environ, url.host):
        headers["Authorization"] = authorization
    try:
        connection.connect()
        broken: OSError | None = None
        try:
            connection.request("PUT", url.target, body=_pieces(path, progress), headers=headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            broken = error  # it may have answered, and said why it takes no more
        connection.sock.settimeout(ANSWER_S)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise _unwritten(url.shown, f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if status in (401, 403):
        way_out = "give this machine credentials in its netrc, or name a URL that is signed for PUT"
        raise _unwritten(url.shown, f"the server answers {status}; {way_out}")
    if status not in (200, 201, 202, 204):
        raise _unwritten(url.shown, f"the server answers {status} to PUT")
    if broken is not None:
        raise _unwritten(url.shown, f"the connection broke: {broken}") from broken


def _put_remote(path: Path, url: Url, progress: Progress) -> None:
    try:
        import fsspec  # only who writes to one of its file systems needs it
        from fsspec.callbacks import Callback
    except ImportError as error:
        raise _unwritten(url.shown, f"{error}; pip install fsspec") from error

    class Told(Callback):  # type: ignore[misc]  # fsspec has no types
        """fsspec's word for progress, in ours."""

        said = 0

        def relative_update(self, inc: int = 1) -> None:
            progress(inc)

        def absolute_update(self, value: int) -> None:
            progress(value - self.said)
            self.said = value

    try:
        system, name = fsspec.url_to_fs(url.text)
        system.put_file(os.fspath(path), name, callback=Told())
    except Exception as error:  # each of fsspec's file systems has errors of its own
        raise _unwritten(url.shown, f"{type(error).__name__}: {error}") from error


def _pieces(path: Path, progress: Progress) -> Iterator[memoryview[Any]]:
    buffer = memoryview(bytearray(PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            yield buffer[:got]
            progress(got)


def _unwritten(location: str, reason: str) -> SourceError:
    return SourceError(f"cannot write weights to {location}: {reason}")
