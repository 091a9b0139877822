"""How one function's models make room for the next one's, of which one may be what a live model becomes.

The rule: `consider` touches nothing until the whole proposal has been looked through: every package can be loaded,
the plan is one, it starts from a model that is live, clean and unused, it leads to one of the packages, and its steps
on the graph of the first give exactly the graph of the second. After that it is carried out, and where a
transformation fails all the same the model is closed, so the package is loaded afresh as any other.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from instar.errors import PlanError, TransformationError
from instar.executor import proposals, transform
from instar.executor.live import LiveModel
from instar.executor.prepare import Prepared
from instar.executor.proposals import Outcome, Proposal
from instar.executor.stay import Handed, Stay
from instar.executor.stores import Stock
from instar.plan import plans, replay


@dataclass(frozen=True, slots=True)
class Becoming:
    """A live model, and the package that a proven plan makes of it."""

    source: LiveModel
    name: str
    folder: Path
    target: Prepared


def consider(proposal: Proposal, stock: Stock, stay: Stay | None) -> Becoming | None:
    """What to make of which model of this stay, which has ended then; `None` without a plan.

    Raises `PackageError`, `PlanError` or `BusyError`, and then nothing was touched.
    """
    targets = {name: (Path(folder), stock.structure(Path(folder))) for name, folder in proposal.models}
    becoming = None
    if proposal.plan is not None:
        becoming = _prove(plans.decode(proposal.plan), targets, stock, stay)
    if stay is not None:
        if becoming is not None:
            stay.promise(becoming.source)
        stay.end()
    return becoming


def _prove(plan: plans.Plan, targets: dict[str, tuple[Path, Prepared]], stock: Stock, stay: Stay | None) -> Becoming:
    name = next((name for name, (_, target) in targets.items() if target.digest == plan.target), None)
    if name is None:
        raise PlanError(
            f"the plan leads to model {plan.target[:16]}…, which is none of the new function's {len(targets)} "
            "packages; make a plan to one of them"
        )
    found = stay.find(plan.source) if stay is not None else None
    if found is None:
        raise PlanError(
            f"the plan starts from model {plan.source[:16]}…, which is not loaded here, or is in use: decide again "
            "without this container"
        )
    source, lies_in = found
    folder, target = targets[name]
    before = stock.skeleton(source.structure_digest, lies_in)
    if replay.apply(plan.steps, before) != stock.skeleton(target.structure_digest, folder):
        raise PlanError(
            f"after all {len(plan.steps)} steps the graph is not that of {plan.target[:16]}…; make the plan again"
        )
    return Becoming(source, name, folder, target)


class Succession:
    """An agreed proposal. Owns the socket to who made it; the thread that serves stays carries it out."""

    def __init__(self, becoming: Becoming | None, stock: Stock, proposer: socket.socket) -> None:
        self._becoming = becoming
        self._stock = stock
        self._proposer = proposer

    def carry_out(self, handed: Handed) -> None:
        """Transform, and tell the outcome; what a model has become is handed to the next stay."""
        outcome = Outcome(None, None, 0) if self._becoming is None else self._transform(self._becoming, handed)
        with self._proposer, suppress(OSError):  # the proxy has gone, and the container with it
            self._proposer.sendall(proposals.encode_answer(outcome))

    def _transform(self, becoming: Becoming, handed: Handed) -> Outcome:
        began_ns = time.perf_counter_ns()
        bring = self._stock.bringing(becoming.target, becoming.folder)
        try:
            transform.transform(becoming.source, becoming.target, bring)
        except TransformationError as error:
            becoming.source.close()
            return Outcome(None, str(error), time.perf_counter_ns() - began_ns)
        handed[str(becoming.folder)] = becoming.source
        return Outcome(becoming.name, None, time.perf_counter_ns() - began_ns)
