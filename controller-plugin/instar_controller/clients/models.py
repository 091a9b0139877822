"""The models of an action, decoded: those in its archive, and the one at the place that its environment names.

One rule: they are their author's. What is damaged, or too much, costs that action its plans and is one line in the
log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from instar import package
from instar.errors import ArchiveError, InstarError, PackageError
from instar.package import Package
from instar.weights import sources
from instar_controller.clients import wanted

logger = logging.getLogger(__name__)

MAX_PACKAGES = 32  # in an archive: a container takes no more


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What models are found by beside their actions' archives."""

    everywhere: str | None = None  # the location of a model that every container's own environment names
    credentials: Mapping[str, str] | None = None  # for URLs: the node's environment
    shares_files: bool = False  # containers see this machine's files, so a path of theirs is one here


def of_archive(code: str, *, whose: str) -> dict[str, Package]:
    """The packages in a zip in base64, by the names by which their function calls them."""
    models: dict[str, Package] = {}
    try:
        for found in wanted.look(code):
            model = _decoded(found, whose)
            if model is not None:
                models[found.name] = model
            if len(models) > MAX_PACKAGES:
                raise ArchiveError(f"the archive has more than {MAX_PACKAGES} model packages")
    except ArchiveError as error:
        logger.warning("the models of %s get no plans: %s", whose, error)
        return {}
    return models


def at(location: str, surroundings: Surroundings) -> Package | None:
    """The package at a path or URL; None if it cannot be read, or is the container's own. A URL may take a while."""
    try:
        return _read(location, surroundings)
    except InstarError as error:
        logger.warning("the model at %s gets no plans: %s", location, error)
        return None


def _decoded(found: wanted.Found, whose: str) -> Package | None:
    try:
        if not found.is_whole:
            raise PackageError(f"{package.MODEL_FILE} of all models have more than {wanted.MAX_HEAD_BYTES} bytes")
        return package.decode(found.model_json)
    except PackageError as error:
        logger.warning("the model %s of %s gets no plans: %s", found.name, whose, error)
        return None


def _read(location: str, surroundings: Surroundings) -> Package | None:
    scheme, is_url, rest = location.partition("://")
    if is_url and scheme != "file":
        place = f"{location}/{package.MODEL_FILE}"
        environ = surroundings.credentials or {}
        return package.decode(sources.read(place, limit_bytes=wanted.MAX_HEAD_BYTES, environ=environ))
    path = Path(rest if is_url else location)
    if not surroundings.shares_files or not path.is_absolute():  # else it lies in the archive, and was found there
        return None
    return package.decode(package.read(path))
