"""The yardstick: the least that any plan can cost, by optimal assignment. For tests and benchmarks only: it is cubic.

Minimum-cost bipartite matching over a square matrix of (n + m) rows: the source's operators and m times "nothing"
against the target's operators and n times "nothing". Operators of different types are never matched, so each type is
a matrix of its own. Source: K. Riesen, H. Bunke, "Approximate graph edit distance computation by means of bipartite
graph matching", 2009; the assignment itself is scipy's.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from instar.plan import costs as amounts
from instar.plan import planner
from instar.plan.costs import Costs
from instar.plan.metaops import Edge, Reduce, Step
from instar.plan.outline import Outline


def cost_ns(source: Outline, target: Outline, costs: Costs) -> float:
    """What the cheapest steps from `source` to `target` cost."""

    def of(step: Step) -> float:
        return costs.cost_ns(amounts.of_steps([step]))

    total = 0.0
    for operator in source.by_operator.keys() | target.by_operator.keys():
        mine, theirs = source.by_operator.get(operator, ()), target.by_operator.get(operator, ())
        n, m = len(mine), len(theirs)
        matrix = np.zeros((n + m, n + m))
        for column, position in enumerate(theirs):
            matrix[n:, column] = of(planner.added(target, position))
            for row, origin in enumerate(mine):
                matrix[row, column] = of(planner.matched(source, origin, target, position))
        matrix[:n, m:] = of(Reduce(operator, 0))
        rows, columns = linear_sum_assignment(matrix)
        total += matrix[rows, columns].sum()
    if source.skeleton != target.skeleton:
        total += of(Edge(len(target.operators), target.skeleton.wiring))
    return total


def linear_ns(source: Outline, target: Outline, costs: Costs) -> float:
    """What the planner's steps cost."""
    return costs.cost_ns(amounts.of_steps(planner.steps(source, target, costs)))
