"""What an image weighs, and which part of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.image import names
from deploy.image.engine import Engine

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    part: str
    mib: float


def of(engine: Engine, image: str, parts: tuple[str, ...]) -> tuple[Layer, ...]:
    """The layers of `image` from the base up, the base as one, under the names of their parts if these fit."""
    base = _sizes(engine, names.BASE)
    above = _sizes(engine, image)[len(base) :]
    if len(above) != len(parts):
        parts = tuple(f"layer {number}" for number, _ in enumerate(above, 1))
    sizes = [sum(base), *above]
    return tuple(Layer(part, round(size / MIB, 1)) for part, size in zip((names.BASE, *parts), sizes, strict=True))


def _sizes(engine: Engine, image: str) -> list[int]:
    """Bytes of each layer that is not empty, the lowest first."""
    steps: list[dict[str, Any]] = engine.client.api.history(image)  # type: ignore[no-untyped-call]
    return [step["Size"] for step in reversed(steps) if step["Size"]]
