"""The two images that are made of a checkout: what each is called, and what goes into it.

The rule: a recipe says everything that tells one image from the other; whatever makes images takes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.image import names


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image. Its wheels lie in folders, each of which the Dockerfile installs in a stage of its own."""

    image: str  # its usual name
    dockerfile: Path
    packages: Path  # what its folder `folder` holds: a package a line, the versions are those of constraints.txt
    folder: str
    parts: tuple[str, ...]  # what the Dockerfile's steps that add files add, in their order
    has_torch: bool = False


ACTION = Recipe(
    image=names.IMAGE,
    dockerfile=names.DEPLOY / "runtime.Dockerfile",
    packages=names.DEPLOY / "image" / "packages.txt",
    folder="packages",
    parts=("user and places", "torch", "packages", "Instar"),
    has_torch=True,
)
CONTROLLER = Recipe(
    image=names.CONTROLLER_IMAGE,
    dockerfile=names.DEPLOY / "controller.Dockerfile",
    packages=names.DEPLOY / "image" / "controller.txt",
    folder="controller",
    parts=("user and places", "packages", "Instar"),
)
ALL = {"action": ACTION, "controller": CONTROLLER}  # as the command line names them
