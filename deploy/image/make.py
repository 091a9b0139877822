"""Make an image on an engine: base, wheels, build, unless what is there was built from the same."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deploy.image import base, build, content, layers, names, wheels
from deploy.image.engine import BUILDERS, Engine, builder
from deploy.image.layers import MIB, Layer
from deploy.image.recipes import ACTION, Recipe
from docker.errors import ImageNotFound

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Made:
    """An image that is on the engine now."""

    image: str
    id: str
    mib: float
    layers: tuple[Layer, ...]
    base: str  # `official` or `stand-in`
    builder: str | None  # which one built it now; None if it was there
    seconds: float


def image(
    engine: Engine,
    say: Say,
    *,
    recipe: Recipe = ACTION,
    tag: str | None = None,
    builders: tuple[str, ...] = BUILDERS,
) -> Made:
    """An image of this checkout, built by the first of `builders` that there is. Raises `ImageError`."""
    tag = tag or recipe.image
    begin = time.monotonic()
    used = None
    with _alone():
        found = base.ensure(engine, say)
        digest = content.digest(recipe)
        if _content(engine, tag) != digest:
            used = builder(engine, *builders)
            wheels.lay_ready(recipe, engine.client.version()["Arch"], say)
            say(f"building {tag} with {used.name}")
            build.build(engine, used, recipe.dockerfile, tag, {names.CONTENT_LABEL: digest})
    made = engine.client.images.get(tag)
    return Made(
        image=tag,
        id=made.short_id,
        mib=round(made.attrs["Size"] / MIB, 1),
        layers=layers.of(engine, tag, recipe.parts),
        base=found,
        builder=used.name if used else None,
        seconds=round(time.monotonic() - begin, 1),
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until nobody else makes an image from this checkout: there is one set of wheels."""
    names.BUILD.mkdir(parents=True, exist_ok=True)
    with (names.BUILD / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _content(engine: Engine, tag: str) -> str | None:
    try:
        return engine.client.images.get(tag).labels.get(names.CONTENT_LABEL)
    except ImageNotFound:
        return None
