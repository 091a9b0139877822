"""How long planning takes an operator of both models, and how far plans are from optimal ones.

`python -m tests.plan.speed` plans between all ordered pairs of a few large models, or of those named on the command
line. They are captured before; each pair is planned several times, and the least time counts. One line a pair, then
the median and the worst.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from pathlib import Path

from instar.plan import planner, plans, replay
from instar.plan.outline import outline
from instar.plan.plans import Plan
from tests.plan import models, optimal
from tests.plan.strategies import PLAUSIBLE

NAMES = ["resnet18", "resnet50", "resnet152", "densenet121", "mobilenetv2_w1", "efficientnet_b0"]
ROUNDS = 7


def main() -> None:
    """Measure and print."""
    kept = models.ROOT / "build" / "plan-models"
    kept.mkdir(parents=True, exist_ok=True)
    names = sys.argv[1:] or NAMES
    outlines = {name: outline(models.captured(models.named(name), Path(kept))) for name in names}
    each, ratios = [], []
    for (a, source), (b, target) in itertools.permutations(outlines.items(), 2):
        count = len(source.operators) + len(target.operators)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter_ns()
            found = planner.plan(source, target, PLAUSIBLE)
            times.append((time.perf_counter_ns() - start) / 1000)
        steps = planner.steps(source, target, PLAUSIBLE)
        plan = Plan(source.digest, target.digest, source.graph_digest, target.graph_digest, steps, found.estimate)
        start = time.perf_counter_ns()
        assert replay.arrives(plan, source, target)
        replayed = (time.perf_counter_ns() - start) / 1000
        start = time.perf_counter_ns()
        size = len(plans.encode(plan))
        encoded = (time.perf_counter_ns() - start) / 1000
        ratio = optimal.linear_ns(source, target, PLAUSIBLE) / optimal.cost_ns(source, target, PLAUSIBLE)
        each.append(min(times) / count)
        ratios.append(ratio)
        print(
            f"{a} → {b}: {count} operators, planned in {min(times):.0f} µs ({min(times) / count:.2f} each, median "
            f"{statistics.median(times) / count:.2f}), proven in {replayed:.0f} µs, written in {encoded:.0f} µs "
            f"({size} bytes), {ratio:.4f} of optimal; {plans.describe(steps)}"
        )
    print(f"µs per operator: median {statistics.median(each):.2f}, worst {max(each):.2f}")
    print(f"linear/optimal: median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}")


if __name__ == "__main__":
    main()
