"""The operators that a graph may use, with the types of their arguments.

`operators.txt` holds one torch schema a line: functional ATen operators only (no writes, no random numbers, no
uninitialised memory, no files), written down for torch 2.13 and checked against the installed torch by a test.
`PYTHON` holds the arithmetic on sizes. An operator that is in neither does not exist for us.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operator: its element kind, list length and whether it may be None or left out."""

    name: str
    kind: str  # Tensor, int, float, bool, number, str, dtype, device, layout, memory_format
    is_list: bool
    length: int | None  # a list of this length may also be given as one number
    item_optional: bool
    optional: bool
    required: bool
    keyword_only: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """The parameters of one operator and how many results it gives (-1: a list of them)."""

    name: str
    parameters: tuple[Parameter, ...]
    results: int
    gives_tensor: bool


_KINDS = {
    "Tensor": "Tensor",
    "SymInt": "int",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "Scalar": "number",
    "str": "str",
    "ScalarType": "dtype",
    "Device": "device",
    "Layout": "layout",
    "MemoryFormat": "memory_format",
}

_TYPE = re.compile(
    r"(?P<base>[A-Za-z]+)(?:\([^)]*\))?(?P<item_optional>\?)?(?P<list>\[(?P<length>\d*)\])?(?P<optional>\?)?$"
)

# name -> how many operands; what each does is Python's own operator of that name, on numbers only.
PYTHON = {
    "py.add": 2,
    "py.sub": 2,
    "py.mul": 2,
    "py.floordiv": 2,
    "py.truediv": 2,
    "py.mod": 2,
    "py.pow": 2,
    "py.neg": 1,
    "py.max": 2,
    "py.min": 2,
    "py.floor": 1,
    "py.ceil": 1,
    "py.int": 1,
    "py.float": 1,
}
GETITEM = "py.getitem"


def _split(text: str) -> list[str]:
    """Cut at commas that are outside brackets."""
    parts, depth, current = [], 0, ""
    for character in text:
        depth += character in "([" and 1
        depth -= character in ")]" and 1
        if character == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += character
    return [*parts, current.strip()] if current.strip() else parts


def _parameter(text: str, keyword_only: bool) -> Parameter:
    declaration, _, _ = text.partition("=")
    declared, _, name = declaration.rpartition(" ")
    match = _TYPE.match(declared)
    if match is None or match["base"] not in _KINDS:
        raise ValueError(f"unknown type {declared!r} in operators.txt")
    is_list = match["list"] is not None
    optional = match["optional"] if is_list else match["item_optional"]
    return Parameter(
        name=name,
        kind=_KINDS[match["base"]],
        is_list=is_list,
        length=int(match["length"]) if match["length"] else None,
        item_optional=is_list and match["item_optional"] is not None,
        optional=optional is not None,
        required="=" not in text,
        keyword_only=keyword_only,
    )


def parse_schema(text: str) -> Schema:
    """Read one line of `operators.txt` (the schema text that torch prints)."""
    head, _, result = text.rpartition(" -> ")
    qualified, _, inside = head.partition("(")
    base, _, overload = qualified.removeprefix("aten::").partition(".")
    parameters, keyword_only = [], False
    for part in _split(inside.removesuffix(")")):
        if part == "*":
            keyword_only = True
        else:
            parameters.append(_parameter(part, keyword_only))
    if result.endswith("[]"):
        results = -1
    else:
        results = len(_split(result[1:-1])) if result.startswith("(") else 1
    name = f"aten.{base}.{overload or 'default'}"
    return Schema(name, tuple(parameters), results, gives_tensor="Tensor" in result)


@cache
def _texts() -> dict[str, str]:
    lines = (resources.files("instar.graph") / "operators.txt").read_text(encoding="ascii").splitlines()
    texts = {}
    for line in lines:
        base, _, overload = line.partition("(")[0].removeprefix("aten::").partition(".")
        texts[f"aten.{base}.{overload or 'default'}"] = line
    return texts


def names() -> frozenset[str]:
    """Every operator of the allow-list, `aten.…` and `py.…`."""
    return frozenset(_texts()) | frozenset(PYTHON) | {GETITEM}


def schema_text(name: str) -> str:
    """The schema of an ATen operator as torch prints it. Raises KeyError if it is not allowed."""
    return _texts()[name]


@cache
def schema(name: str) -> Schema:
    """The parsed schema of an ATen operator. Raises KeyError if it is not allowed."""
    return parse_schema(_texts()[name])
