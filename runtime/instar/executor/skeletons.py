"""The graph of a model that is, or is to be, live: what a plan is held against before anything is touched.

The rule: loads never wait for it. A graph's skeleton is worked out when somebody asks, which an executor does for its
own models in an idle moment, and is kept beside the compiled program, under the digest of the structure that it is
the graph of. So all but the first who ask on a node read a small file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instar import package
from instar.errors import PackageError
from instar.executor import kept
from instar.plan import skeleton
from instar.plan.skeleton import Skeleton, Wiring

VERSION = 1
REMEMBERED = 32  # of some ten kilobytes each

_remembered: dict[str, Skeleton] = {}  # by structure; frozen values, so sharing them is safe


def of(structure_digest: str, folder: Path, *caches: Path) -> Skeleton:
    """The skeleton of a structure, which is that of the package in `folder`.

    `caches` are the folders for what is kept, as for `prepare`. Raises `PackageError` if it is not kept and the
    folder has no such package.
    """
    found = _remembered.get(structure_digest)
    if found is None:
        name = f"{structure_digest}.graph.{VERSION}"
        plain = next(filter(None, (kept.read(cache / name) for cache in caches)), None)
        found = _from_plain(plain) if plain is not None else _of_package(structure_digest, folder)
        if plain is None and caches:
            kept.write(caches[-1] / name, _to_plain(found))
    _remembered[structure_digest] = found
    while len(_remembered) > REMEMBERED:
        _remembered.pop(next(iter(_remembered)), None)  # another thread may have dropped it meanwhile
    return found


def forget() -> None:
    """Drop what this process remembers; the folders are left alone."""
    _remembered.clear()


def _of_package(structure_digest: str, folder: Path) -> Skeleton:
    decoded = package.decode(package.read(folder))
    if decoded.structure_digest != structure_digest:
        raise PackageError(
            f"{folder} has the structure {decoded.structure_digest[:16]}…, not {structure_digest[:16]}…: it was "
            "changed since it was loaded"
        )
    return skeleton.disassemble(decoded.graph)


def _to_plain(found: Skeleton) -> tuple[Any, ...]:
    w = found.wiring
    return found.forms, w.inputs, w.symbols, w.references, w.outputs, w.spare


def _from_plain(plain: tuple[Any, ...]) -> Skeleton:
    forms, *wiring = plain
    return Skeleton(forms, Wiring(*wiring))
