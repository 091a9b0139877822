"""Put a package's weights where nodes fetch them, and note the place in its model.json.

  instar push resnet s3://models/              named by their digest: versions never overwrite each other
  instar push resnet https://host/resnet.bin   by HTTP PUT; credentials from ~/.netrc, or a URL that is signed
  instar push resnet /mnt/models/ --remove     and remove the weights here: model.json alone is deployed

The package stays as it was if anything goes wrong. Pushing what is there already uploads nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from instar import package, whole_files
from instar.errors import PackageError, SourceError
from instar.package import MODEL_FILE, Package
from instar.weights import destinations
from instar.weights.destinations import Destination, Found, Progress
from instar.weights.manifest import WEIGHTS_FILE

HELP = "upload a package's weights to where nodes fetch them"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model package")
    parser.add_argument("url", metavar="URL", help="a folder if it ends in /, else the file: a path, http, s3, …")
    parser.add_argument("--remove", action="store_true", help="remove the weights from DIR once they are there")
    parser.add_argument("--force", action="store_true", help="replace another file that is at URL")
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check, upload, read back, note. A progress bar goes to standard error, the result to standard output."""
    directory: Path = arguments.directory
    model = package.decode(package.read(directory))
    local = directory / WEIGHTS_FILE
    target = destinations.destination(arguments.url, model.weights)
    _check_local(local, model, target)
    with _bar("checking", model.weights.size, hidden=arguments.json) as progress:
        destinations.verify(local, model.weights, progress)
    found, why = destinations.look(target, model.weights, os.environ)
    uploaded = found is not Found.SAME
    if uploaded:
        if found is Found.OTHER and not target.is_named_by_digest and not arguments.force:
            raise SourceError(
                f"{target.uri} is there already and is another file ({why}); it would be lost: "
                "name a folder (with / at the end), or add --force"
            )
        with _bar("uploading", model.weights.size, hidden=arguments.json) as progress:
            destinations.put(local, target, os.environ, progress)
        found, why = destinations.look(target, model.weights, os.environ)
        if found in (Found.OTHER, Found.NOTHING):
            raise SourceError(f"{target.uri} does not hold what was uploaded to it: {why}; push again")
    pushed = dataclasses.replace(model, weights=dataclasses.replace(model.weights, uri=target.uri))
    if model.weights.uri != target.uri:
        _rewrite(directory / MODEL_FILE, pushed)
    removed = arguments.remove and found is Found.SAME
    if removed:
        local.unlink()
    if arguments.json:
        print(json.dumps({"uri": target.uri, "bytes": model.weights.size, "weights": model.weights.digest,
                          "uploaded": uploaded, "read_back": found is Found.SAME, "removed": removed}))  # fmt: skip
    else:
        _tell(directory, model, target, uploaded=uploaded, unread=why if found is Found.UNKNOWN else "")
    if arguments.remove and not removed:
        raise SourceError(f"{local} is kept: what was uploaded could not be read back")
    return 0


def _check_local(local: Path, model: Package, target: Destination) -> None:
    """Raises `PackageError` where there is nothing to push, or the place is where it lies already."""
    if not local.is_file():
        where = f"they are at {model.weights.uri}" if model.weights.uri else "model.json names no other place, either"
        raise PackageError(f"{local.parent} has no {WEIGHTS_FILE} to push; {where}")
    if isinstance(target.place, Path) and target.place.exists() and target.place.samefile(local):
        raise PackageError(f"{target.place} is the package's own file; push to another place")


def _rewrite(path: Path, model: Package) -> None:
    """Replace `model.json` at once: it says either the old place or the new one, whatever happens."""
    try:
        with whole_files.written(path, path.stat().st_mode & 0o777) as file:
            file.write(package.encode(model))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SourceError(
            f"the weights are at {model.weights.uri}, but {path} cannot be written ({error.strerror}); push again"
        ) from error


def _tell(directory: Path, model: Package, target: Destination, *, uploaded: bool, unread: str) -> None:
    size = f"{model.weights.size / 1e6:.1f} MB"
    print(f"{target.uri}: {size} {'uploaded' if uploaded else 'there already, nothing was uploaded'}")
    if unread:
        print(f"it could not be read back: {unread}")
        print("make sure that the nodes can read it before you deploy the package")
    print(f"{directory / MODEL_FILE} now names it: deploy that file alone, the nodes fetch the weights")


@contextmanager
def _bar(what: str, total: int, *, hidden: bool) -> Iterator[Progress]:
    from tqdm import tqdm

    with tqdm(total=total, unit="B", unit_scale=True, desc=what, disable=hidden, leave=False) as bar:
        yield bar.update
