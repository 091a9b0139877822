"""A plan as a value, and as the bytes that are kept on disk and sent to a container.

`encode` writes one text for one plan: compact JSON with its fields in a fixed order, each operator name and each form
once, one short list a step (`=` replace, `~` reshape, `-` reduce, `+` add, `>` edge). `decode` accepts exactly what
`encode` writes, whoever sent it, and raises `PlanError` for anything else. Whether a plan arrives is `replay`'s work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from instar.errors import PlanError
from instar.graph import spec
from instar.plan import skeleton
from instar.plan.metaops import Add, Edge, Reduce, Replace, Reshape, Step
from instar.plan.skeleton import Wiring

FORMAT = "instar-plan"
VERSION = 1
MAX_BYTES = 16 * 1024 * 1024

_FIELDS = ["format", "version", "source", "target", "source_graph", "target_graph", "estimate", "operators", "forms",
           "steps"]  # fmt: skip
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_INT_LIMIT = 2**63

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long it would take to transform, and to close the source and load the target, both in nanoseconds."""

    transform_ns: int
    load_ns: int

    def __str__(self) -> str:
        return f"{self.transform_ns / 1e6:.3f} ms to transform, {self.load_ns / 1e6:.3f} ms to load"


@dataclass(frozen=True, slots=True)
class Plan:
    """How the model `source` becomes the model `target`; both are digests of whole models.

    `source_graph` and `target_graph` are digests of the graphs alone (`skeleton.digest`).
    """

    source: str
    target: str
    source_graph: str
    target_graph: str
    steps: tuple[Step, ...]
    estimate: Estimate

    def __repr__(self) -> str:
        return f"<Plan {self.source[:12]} → {self.target[:12]}, {len(self.steps)} steps, {self.estimate}>"


@dataclass(frozen=True, slots=True)
class LoadInstead:
    """No plan from `source` to `target`: loading the target from scratch is estimated to be no slower, and why."""

    source: str
    target: str
    estimate: Estimate
    reason: str


def encode(plan: Plan) -> bytes:
    """The one text of a plan, in ASCII."""
    operators = _Table()
    forms = _Table()
    steps = ",".join([_encode_step(step, operators, forms) for step in plan.steps])
    ends = f'"source":"{plan.source}","target":"{plan.target}"'
    graphs = f'"source_graph":"{plan.source_graph}","target_graph":"{plan.target_graph}"'
    return (
        f'{{"format":"{FORMAT}","version":{VERSION},{ends},{graphs},'
        f'"estimate":[{plan.estimate.transform_ns},{plan.estimate.load_ns}],'
        f'"operators":{skeleton.text(list(operators))},"forms":[{",".join(forms)}],"steps":[{steps}]}}'
    ).encode("ascii")


def decode(data: bytes) -> Plan:
    """The plan that `encode` made these bytes of. Raises `PlanError` for any others."""
    if len(data) > MAX_BYTES:
        raise PlanError(f"the plan has {len(data)} bytes; at most {MAX_BYTES} are read: load the model instead")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the plan is not JSON ({str(error)[:200]}); send what `plans.encode` wrote") from None
    try:
        plan = _decode(document)
    except RecursionError:
        raise PlanError("the plan has lists in lists without end; send what `plans.encode` wrote") from None
    # One text for one plan: what is kept, sent and digested cannot say the same thing in two ways.
    if encode(plan) != data:
        raise PlanError("the plan is not written as `plans.encode` writes it; send its bytes unchanged")
    return plan


def _decode(document: Any) -> Plan:
    if not isinstance(document, dict) or list(document) != _FIELDS:
        found = list(document) if isinstance(document, dict) else type(document).__name__
        raise PlanError(f"a plan is an object with the fields {_FIELDS} in this order, not {str(found)[:300]}")
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise PlanError(
            f"this is {str(document['format'])[:50]!r} of version {str(document['version'])[:50]}; "
            f"this Instar reads {FORMAT!r} of version {VERSION}: make the plan again"
        )
    operators = [_operator(o) for o in _items(document["operators"], "operators")]
    forms = [_form(f) for f in _items(document["forms"], "forms")]
    steps = tuple(
        _decode_step(s, operators, forms, f"step {n}") for n, s in enumerate(_items(document["steps"], "steps"))
    )
    estimate = _numbers(document["estimate"], 2, "the estimate")
    ends = [_digest(document[name], name) for name in ("source", "target", "source_graph", "target_graph")]
    return Plan(ends[0], ends[1], ends[2], ends[3], steps, Estimate(*estimate))


class _Table(dict[str, int]):
    """Numbers texts in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


def _encode_step(step: Step, operators: _Table, forms: _Table) -> str:
    # Taken apart as the tuples that they are: patterns would look each field up by name, and take twice as long.
    if isinstance(step, Replace):
        operator, source, target, views, moved = step
        return f'["=",{operators[operator]},{source},{target},{views},{moved}]'
    if isinstance(step, Reshape):
        _, source, target, form, views, moved = step
        return f'["~",{forms[form]},{source},{target},{views},{moved}]'
    if isinstance(step, Reduce):
        operator, source = step
        return f'["-",{operators[operator]},{source}]'
    if isinstance(step, Add):
        _, target, form, views, moved = step
        return f'["+",{forms[form]},{target},{views},{moved}]'
    return f'[">",{step.operators},{step.wiring.encode()}]'


def _decode_step(value: Any, operators: list[str], forms: list[tuple[str, str]], where: str) -> Step:
    match value:
        case ["=", *rest]:
            number, source, target, views, moved = _numbers(rest, 5, where)
            return Replace(_of(operators, number, where), source, target, views, moved)
        case ["~", *rest]:
            number, source, target, views, moved = _numbers(rest, 5, where)
            operator, form = _of(forms, number, where)
            return Reshape(operator, source, target, form, views, moved)
        case ["-", *rest]:
            number, source = _numbers(rest, 2, where)
            return Reduce(_of(operators, number, where), source)
        case ["+", *rest]:
            number, target, views, moved = _numbers(rest, 4, where)
            operator, form = _of(forms, number, where)
            return Add(operator, target, form, views, moved)
        case [">", count, wiring]:
            return Edge(_numbers([count], 1, where)[0], _wiring(wiring, where))
    raise PlanError(f"{where} is {str(value)[:200]}, which is no step")


def _wiring(value: Any, where: str) -> Wiring:
    inputs, symbols, references, outputs, spare = _items(value, where, 5)
    pairs = [_items(pair, where, 2) for pair in _items(spare, where)]
    return Wiring(
        inputs=_texts(inputs, where),
        symbols=_texts(symbols, where),
        references=_numbers(references, None, where),
        outputs=_texts(outputs, where),
        spare=tuple((_numbers([index], 1, where)[0], _texts([type_], where)[0]) for index, type_ in pairs),
    )


def _form(value: Any) -> tuple[str, str]:
    """The operator of a form, and its text."""
    op, args, kwargs, type_ = _items(value, "a form", 4)
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(type_, str):
        raise PlanError("a form is a list of operator, arguments, keywords and type")
    for argument in (*args, *kwargs.values()):
        for item in argument if isinstance(argument, list) else (argument,):
            if isinstance(item, list | dict):
                raise PlanError(f"a form of {str(op)[:100]!r} has an argument that is neither plain nor a plain list")
    try:
        return _operator(op), skeleton.text(value)
    except ValueError as error:
        raise PlanError(f"a form holds what JSON has no word for ({str(error)[:200]})") from None


def _operator(value: Any) -> str:
    if not isinstance(value, str) or len(value) > spec.MAX_TEXT:
        raise PlanError(f"{str(value)[:100]!r} is not the name of an operator")
    return value


def _of(table: list[Item], number: int, where: str) -> Item:
    if number >= len(table):
        raise PlanError(f"{where} asks for entry {number} of a table that has {len(table)}")
    return table[number]


def _items(value: Any, where: str, count: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise PlanError(f"{where} has {str(value)[:200]} where a list of {count or 'any number of'} items belongs")
    return value


def _numbers(value: Any, count: int | None, where: str) -> tuple[int, ...]:
    numbers = _items(value, where, count)
    for number in numbers:
        if type(number) is not int or not 0 <= number < _INT_LIMIT:
            raise PlanError(f"{where} has {str(number)[:100]} where a whole number from 0 belongs")
    return tuple(numbers)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    texts = _items(value, where)
    for one in texts:
        if not isinstance(one, str):
            raise PlanError(f"{where} has {str(one)[:100]} where a text belongs")
    return tuple(texts)


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _HEX.match(value):
        raise PlanError(f"{where} is {str(value)[:80]!r}, not a digest in hexadecimal")
    return value


def describe(steps: Iterable[Step]) -> str:
    """How many steps there are of each kind, for people: `4 replace, 1 edge`."""
    counts: dict[str, int] = {}
    for step in steps:
        name = type(step).__name__.lower()
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no steps"
