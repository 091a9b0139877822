"""How an input is written on the command line: `x=float32[batch:1..64,3,224,224]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from instar.errors import PackError
from instar.graph.spec import DTYPES

_INPUT = re.compile(r"([A-Za-z_]\w*)=([a-z]\w*)\[([^\[\]]*)\]$")
_DYNAMIC = re.compile(r"([A-Za-z]\w*)(?::(\d+)\.\.(\d+))?$")
MAX_SIZE = 2**31


@dataclass(frozen=True, slots=True)
class Declared:
    """One `--input`: sizes or dimension names, and the bounds that were given with a name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    bounds: tuple[tuple[str, tuple[int, int]], ...]

    @property
    def dynamic(self) -> dict[int, str]:
        """Axis -> name, for the dynamic dimensions."""
        return {axis: dim for axis, dim in enumerate(self.shape) if isinstance(dim, str)}

    @property
    def example_shape(self) -> list[int]:
        """The shape with some size for the dynamic dimensions; which one does not matter."""
        return [size if isinstance(size, int) else 2 for size in self.shape]


def parse(text: str) -> Declared:
    """Read one `--input`. Raises `PackError` that says what is wrong with which part."""
    match = _INPUT.match(text)
    if match is None:
        raise PackError(f"--input {text!r} is not NAME=DTYPE[SHAPE], such as x=float32[batch:1..64,3,224,224]")
    name, dtype, dims = match.groups()
    if dtype not in DTYPES:
        raise PackError(f"--input {name}: unknown dtype {dtype!r}; known are {', '.join(sorted(DTYPES))}")
    shape: list[int | str] = []
    bounds = []
    for dim in (part.strip() for part in dims.split(",")) if dims.strip() else ():
        if dim.isdecimal():
            if not int(dim) <= MAX_SIZE:
                raise PackError(f"--input {name}: the size {dim} is above {MAX_SIZE}")
            shape.append(int(dim))
            continue
        dynamic = _DYNAMIC.match(dim)
        if dynamic is None:
            raise PackError(
                f"--input {name}: the dimension {dim!r} is neither a whole number nor NAME:LEAST..GREATEST; "
                "dimensions are finite"
            )
        shape.append(dynamic[1])
        if dynamic[2]:
            bounds.append((dynamic[1], (int(dynamic[2]), int(dynamic[3]))))
    return Declared(name, dtype, tuple(shape), tuple(bounds))


def bounds(declared: Sequence[Declared]) -> dict[str, tuple[int, int]]:
    """Dimension -> (least, greatest) over all inputs. Raises `PackError` where they disagree or are missing."""
    found: dict[str, tuple[int, int]] = {}
    for one in declared:
        for name, pair in one.bounds:
            if found.setdefault(name, pair) != pair:
                raise PackError(f"dimension {name!r} has the bounds {found[name]} and {pair}; give them once")
    for one in declared:
        for name in one.dynamic.values():
            if name not in found:
                raise PackError(f"dimension {name!r} of input {one.name!r} has no bounds; write {name}:1..64, say")
    return found
