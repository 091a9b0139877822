"""Which model packages an action may call: those in its archive, and the one that `INSTAR_MODEL` names.

The rule: a package is known by the name of its folder, and two packages never share a name. Only `model.json` is
read here, and not run: the executor checks and loads what this finds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from instar import package
from instar.errors import PackageError
from instar.weights import manifest, sources
from instar.weights.store import Store

VARIABLE = "INSTAR_MODEL"
MAX_PACKAGES = 32
PEEK_BYTES = 4096
HEAD_BYTES = 1 << 18  # in which it says which weights it has: enough for 3 GB, and archives are smaller
READ_BY_EXECUTOR = (package.MODEL_FILE, manifest.WEIGHTS_FILE)
ARCHIVED = "archive"  # folder of the packages that came in an archive, beside those from elsewhere
ROOT_NAME = "model"  # of a package at the archive's root, whose folder has no name of its own

Packages = tuple[tuple[str, str], ...]  # (name, directory)


def find(directory: Path) -> Packages:
    """The packages in an action's directory. Raises `PackageError` if two have one name."""
    found: dict[str, str] = {}
    for folder, below, files in os.walk(directory):
        below[:] = [name for name in below if name not in ("virtualenv", "__pycache__")]
        path = Path(folder)
        if package.MODEL_FILE in files and _is_package(path):
            name = path.name if path != directory else ROOT_NAME
            if name in found:
                raise PackageError(f"the archive has two model packages named {name!r}; rename the folder of one")
            found[name] = folder
    if len(found) > MAX_PACKAGES:
        raise PackageError(f"the archive has {len(found)} model packages; at most {MAX_PACKAGES} are taken")
    return tuple(sorted(found.items()))


def named(environ: Mapping[str, str], directory: Path, scratch: Path) -> Packages:
    """The package that `INSTAR_MODEL` names, a path or URL; none if it is not set.

    Of a package elsewhere only `model.json` comes into `scratch`, with a note of where its weights lie: the store
    fetches those, if the node lacks them. Raises `PackageError` or `SourceError`.
    """
    location = environ.get(VARIABLE, "").rstrip("/")
    if not location:
        return ()
    try:
        url = urlsplit(location)
    except ValueError as error:
        raise PackageError(f"{VARIABLE} is {location[:200]!r}, which is no path and no URL: {error}") from error
    if url.scheme in ("", "file"):
        path = directory / url.path
        if not (path / package.MODEL_FILE).is_file():
            raise PackageError(f"{VARIABLE} names {path}, which is no model package: it has no {package.MODEL_FILE}")
        return ((path.name, str(path)),)
    # The container's environment and not the function's: who deploys an action has no credentials of the node.
    model_json = sources.read(
        f"{location}/{package.MODEL_FILE}", limit_bytes=package.MAX_JSON_BYTES, environ=os.environ
    )
    decoded = package.decode(model_json)
    if decoded.weights.uri is None:
        weights = dataclasses.replace(decoded.weights, uri=f"{location}/{manifest.WEIGHTS_FILE}")
        decoded = dataclasses.replace(decoded, weights=weights)
    name = url.path.rpartition("/")[2] or ROOT_NAME
    folder = scratch / name
    folder.mkdir(parents=True)
    (folder / package.MODEL_FILE).write_bytes(package.encode(decoded))
    return ((name, str(folder)),)


def set_apart(models: Packages, directory: Path, kept: Path, store: Store) -> Packages:
    """Take the packages that lie in an action's directory out of the function's reach, into `kept`.

    What the executor reads of them is moved; links in their places let the function read it, too, as far as it may
    read the store: an archive can do without weights that the node has. The rest of the folders stays the function's.
    `kept` belongs to this process's user and must not be writable by the function's.
    """
    root = Path(os.path.realpath(directory))
    return tuple((name, str(_set_apart(Path(folder), root, kept, store))) for name, folder in models)


def _set_apart(folder: Path, root: Path, kept: Path, store: Store) -> Path:
    found = Path(os.path.realpath(folder))
    if not found.is_relative_to(root):
        return folder
    apart = kept / ARCHIVED / found.relative_to(root)
    apart.mkdir(parents=True, exist_ok=True)
    for name in READ_BY_EXECUTOR:
        moved, real = apart / name, Path(os.path.realpath(found / name))
        if moved.exists() or not real.is_file():
            continue
        if real.is_relative_to(root):
            real.rename(moved)
            moved.chmod(0o444)
            real.symlink_to(moved)
        else:  # another package has it, too, and was first
            moved.symlink_to(real)
    if not (found / manifest.WEIGHTS_FILE).exists() and (place := _place_of_weights(apart, store)) is not None:
        (found / manifest.WEIGHTS_FILE).symlink_to(place)
    return apart


def _place_of_weights(folder: Path, store: Store) -> Path | None:
    """Where the node has the weights that ought to lie beside a `model.json`."""
    with (folder / package.MODEL_FILE).open("rb") as file, contextlib.suppress(PackageError):  # the executor will say
        weights = package.peek_weights(file.read(HEAD_BYTES))
        if weights.uri is None and (place := store.place(weights.digest)).exists():
            return place
    return None


def _is_package(folder: Path) -> bool:
    """Whether the `model.json` says that it is ours; libraries ship files of that name, too."""
    with (folder / package.MODEL_FILE).open("rb") as file:
        return package.FORMAT.encode() in file.read(PEEK_BYTES)
