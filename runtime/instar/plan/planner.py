"""From two outlines and the device's costs to a plan, or to the word that loading is no slower.

The one rule: a plan is returned only if it is estimated to be clearly faster than closing the source and loading the
target from scratch, so the worst case is the ordinary path. Nothing here is random and nothing is searched: the same
two models and costs give the same answer, in time linear in their operators.
"""

from __future__ import annotations

from instar.plan import costs as amounts
from instar.plan import matching
from instar.plan.costs import Costs
from instar.plan.metaops import Add, Edge, Reduce, Replace, Reshape, Step
from instar.plan.outline import Holding, Outline
from instar.plan.plans import Estimate, LoadInstead, Plan

# A plan may take at most so much of the load's time. Where the two are closer, their order is within what estimates
# are off, and a plan must be sent and proven besides.
WORTH = 0.95


def plan(source: Outline, target: Outline, costs: Costs) -> Plan | LoadInstead:
    """How a live `source` best becomes `target`."""
    found = steps(source, target, costs)
    estimate = Estimate(
        transform_ns=round(costs.cost_ns(amounts.of_transformation(source, target, found))),
        load_ns=round(costs.cost_ns(amounts.of_load(source, target))),
    )
    if estimate.transform_ns < WORTH * estimate.load_ns:
        return Plan(source.digest, target.digest, source.graph_digest, target.graph_digest, found, estimate)
    return LoadInstead(
        source.digest,
        target.digest,
        estimate,
        f"loading is estimated to be no slower on {costs.device}, or nearly so: {estimate}",
    )


def steps(source: Outline, target: Outline, costs: Costs) -> tuple[Step, ...]:
    """All steps that make the target's graph of the source's, the target's operators in execution order."""
    found = matching.match(source, target)
    dear = _dear(target, costs)
    result: list[Step] = []
    for position, origin in enumerate(found):
        if origin == matching.NONE:
            result.append(added(target, position))
            continue
        step: Step = matched(source, origin, target, position)
        if dear and type(step) is Reshape and step.operator in dear:
            anew = added(target, position)
            if _is_cheaper(anew, step, dear[step.operator], costs):
                found[position] = matching.NONE
                step = anew
        result.append(step)
    result += [Reduce(source.operators[position], position) for position in matching.unmatched(source, found)]
    if source.skeleton != target.skeleton:
        result.append(Edge(len(target.operators), target.skeleton.wiring))
    return tuple(result)


def matched(source: Outline, origin: int, target: Outline, position: int) -> Replace | Reshape:
    """The step by which the source's operator `origin` becomes the target's operator `position`, of the same type."""
    held = target.holdings[position]
    views, moved = _changes(source.holdings[origin], held) if held else (0, 0)
    operator, form = target.operators[position], target.skeleton.forms[position]
    if source.skeleton.forms[origin] == form:
        return Replace(operator, origin, position, views, moved)
    return Reshape(operator, origin, position, form, views, moved)


def added(target: Outline, position: int) -> Add:
    """The step that makes the target's operator `position` of nothing."""
    held = target.holdings[position]
    form = target.skeleton.forms[position]
    return Add(target.operators[position], position, form, len(held), sum([h.nbytes for h in held]))


def _dear(target: Outline, costs: Costs) -> dict[str, float]:
    """By how much reshaping costs more than removing and adding, for the operators where it does."""
    rate = costs.rate_ns
    surplus = rate(amounts.RESHAPE) - rate(amounts.REDUCE) - rate(amounts.ADD)
    if surplus <= 0:
        return {}
    found = {operator: surplus - rate(amounts.adding(operator)) for operator in target.by_operator}
    return {operator: more for operator, more in found.items() if more > 0}


def _is_cheaper(anew: Add, step: Reshape, surplus: float, costs: Costs) -> bool:
    views, moved = anew.views - step.views, anew.moved_bytes - step.moved_bytes
    return views * costs.rate_ns(amounts.VIEW) + moved * costs.rate_ns(amounts.MOVED) < surplus


def _changes(old: tuple[Holding, ...], new: tuple[Holding, ...]) -> tuple[int, int]:
    """How many of the new weights are not where the old ones lay, and how many bytes hold something else."""
    views = moved = 0
    for before, after in zip(old, new, strict=False):
        if before.layout != after.layout:
            views += 1
        if before.digest != after.digest:
            moved += after.nbytes
    for after in new[len(old) :]:
        views += 1
        moved += after.nbytes
    return views, moved
