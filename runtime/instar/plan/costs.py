"""What transforming and loading cost on one kind of device: amounts of work, times a rate for each.

An *amount* is a whole number that can be counted without running anything: how many operators are replaced, how many
weights get a new view, how many bytes are mapped. Whole numbers are added up first and multiplied once, so neither
the order of a plan's steps nor rounding along the way can change what it costs.

The rates come from measurements (`fit`); this file has none of its own. An amount without a rate costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from instar.plan.metaops import Add, Edge, Reduce, Replace, Reshape, Step
from instar.plan.outline import Outline

Amounts = Mapping[str, int]

# Of a plan's steps. An Add also counts under `adding(operator)`.
REPLACE, RESHAPE, REDUCE, ADD, EDGE = "replace", "reshape", "reduce", "add", "edge"  # edge: operators of the program
VIEW = "view"  # weights that get a new view
MOVED = "moved byte"  # bytes of weights whose content is not what it was
# Of a whole transformation.
TRANSFORM = "transform"  # once
DROPPED = "dropped view"  # weights of the source whose view is let go of
# Of a load from scratch in the place of another model, which is closed first.
LOAD = "load"  # once
LOAD_VIEW = "load view"
CLOSED = "closed view"  # weights of the model that was there
# Of both.
OPERATOR, WEIGHT = "operator", "weight"  # of the target, whose structure is read
UNMAPPED, MAPPED = "unmapped byte", "mapped byte"  # sizes of the file that was mapped, and of the one that is

# What takes time where weights are mapped and tensors are views, and so what costs are learned for. Of steps that is
# the views that they need; of what kind they are makes no difference. (With the kinds among the amounts estimates for
# pairs that were held out were no better, and rates went to kinds that had merely been there.)
WORK = frozenset([VIEW, DROPPED, EDGE, TRANSFORM, LOAD, LOAD_VIEW, CLOSED, OPERATOR, WEIGHT, UNMAPPED, MAPPED])


@dataclass(frozen=True, slots=True)
class Costs:
    """What one kind of device takes: nanoseconds for one of each amount."""

    device: str
    rates_ns: Mapping[str, float]

    def rate_ns(self, name: str) -> float:
        """Nanoseconds for one of an amount."""
        return self.rates_ns.get(name, 0.0)

    def cost_ns(self, amounts: Amounts) -> float:
        """What these amounts of work cost, in nanoseconds."""
        return math.fsum(rate * amounts.get(name, 0) for name, rate in self.rates_ns.items())


def adding(operator: str) -> str:
    """The name under which operators of one type are counted that are added, beside `ADD`."""
    return f"{ADD} {operator}"


def of_steps(steps: Iterable[Step]) -> dict[str, int]:
    """The amounts of work in some steps of a plan."""
    replaced = reshaped = reduced = edged = views = moved = 0
    added: dict[str, int] = {}
    for step in steps:
        kind = type(step)
        if kind is Reduce:
            reduced += 1
            continue
        if isinstance(step, Edge):
            edged += step.operators
            continue
        assert isinstance(step, Replace | Reshape | Add)
        views += step.views
        moved += step.moved_bytes
        if kind is Replace:
            replaced += 1
        elif kind is Reshape:
            reshaped += 1
        else:
            added[step.operator] = added.get(step.operator, 0) + 1
    amounts = {adding(operator): count for operator, count in added.items()}
    amounts |= {REPLACE: replaced, RESHAPE: reshaped, REDUCE: reduced, ADD: sum(added.values()), EDGE: edged}
    return amounts | {VIEW: views, MOVED: moved}


def of_transformation(source: Outline, target: Outline, steps: Iterable[Step]) -> dict[str, int]:
    """The amounts of work in transforming a live `source` into `target` by these steps."""
    amounts = of_steps(steps)
    kept = target.views - amounts[VIEW]
    return amounts | {TRANSFORM: 1, DROPPED: source.views - kept} | _of_both(source, target)


def of_load(source: Outline, target: Outline) -> dict[str, int]:
    """The amounts of work in closing a live `source` and loading `target` from scratch."""
    return {LOAD: 1, LOAD_VIEW: target.views, CLOSED: source.views} | _of_both(source, target)


def _of_both(source: Outline, target: Outline) -> dict[str, int]:
    return {
        OPERATOR: len(target.operators),
        WEIGHT: target.views,
        UNMAPPED: source.file_bytes,
        MAPPED: target.file_bytes,
    }
