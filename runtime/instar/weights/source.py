"""Where weights lie before they are on the node: a path, or any URL that fsspec opens.

A source gives bytes in order, nothing else; the store holds them against their digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from instar.errors import SourceError

PIECE_BYTES = 4 * 1024 * 1024


def read(location: str | Path) -> Iterator[bytes]:
    """The bytes at a path or URL, in pieces of at most `PIECE_BYTES`. Raises `SourceError`."""
    try:
        if isinstance(location, Path):
            if not location.is_file():  # a pipe would never end
                raise FileNotFoundError("there is no such file")
            with location.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
            return
        if "::" in location:  # chained file systems run programs of their own on what they read
            raise ValueError("it is a chain of URLs; only one is followed")
        import fsspec  # only who fetches from elsewhere needs it

        with fsspec.open(location, "rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except (OSError, ValueError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}"
    except Exception as error:  # each of fsspec's back ends has errors of its own
        reason = f"{type(error).__name__}: {error}"
    else:
        return
    raise SourceError(f"cannot read weights from {location}: {reason}; check that it exists and may be read")
