"""What an image is built from, as one digest: an image that carries it need not be built again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from deploy.image import names
from deploy.image.recipes import Recipe

# What `wheels.own` builds Instar's wheel from.
SOURCES = (
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "runtime/instar",
    "controller-plugin/instar_controller",
)
_MAKING = ("deploy/constraints.txt", "deploy/image")
_COMPILED = "__pycache__"


def digest(recipe: Recipe) -> str:
    """SHA-256 over the names and contents of the sources, of what makes images and of this image's recipe."""
    whole = hashlib.sha256()
    for path in files(*SOURCES, str(recipe.dockerfile.relative_to(names.ROOT)), *_MAKING):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(names.ROOT)} {content}\n".encode())
    return whole.hexdigest()


def files(*places: str) -> Iterator[Path]:
    """The files in these places of the checkout, in a fixed order, without compiled ones."""
    for place in places:
        path = names.ROOT / place
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in found if file.is_file() and _COMPILED not in file.parts)
