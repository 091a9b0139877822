"""Carry a plan out on graphs alone, to prove that it arrives.

The one rule: what comes back is the target's graph, equal in every argument, or `PlanError` is raised and names the
step. Nothing but the source and the plan is looked at, so a plan that replays holds all that it takes. `arrives` is
the same proof for who has both outlines, without the work of taking graphs apart and putting them together.
"""

from __future__ import annotations

from instar import package
from instar.errors import GraphError, PlanError
from instar.graph import ir, spec
from instar.plan import skeleton as skeletons
from instar.plan.metaops import Add, Edge, Reduce, Replace, Reshape, Step
from instar.plan.outline import Outline
from instar.plan.plans import Plan
from instar.plan.skeleton import Skeleton


def replay(plan: Plan, graph: ir.Graph) -> ir.Graph:
    """The plan's target, made of its source. `graph` must have passed `spec.check`; so has what is returned.

    Raises `PlanError` if the plan starts from another graph, if a step does not fit, or if it does not arrive at the
    graph that it names.
    """
    source = skeletons.disassemble(graph)
    found = skeletons.digest(source)
    if found != plan.source_graph:
        raise PlanError(
            f"the plan starts from the graph {plan.source_graph[:12]}…, but this one is {found[:12]}…: "
            "before step 0 it does not fit; make a plan from this model"
        )
    arrived = apply(plan.steps, source)
    found = skeletons.digest(arrived)
    if found != plan.target_graph:
        raise PlanError(
            f"after all {len(plan.steps)} steps the graph is {found[:12]}…, not {plan.target_graph[:12]}… as the "
            "plan says; it is damaged or forged: make it again"
        )
    try:
        result = skeletons.assemble(arrived)
        spec.check(result)
    except GraphError as error:
        raise PlanError(f"after all {len(plan.steps)} steps there is no valid graph: {error}") from error
    return result


def arrives(plan: Plan, source: Outline, target: Outline) -> bool:
    """Whether the plan makes the target's graph of the source's. Raises `PlanError` if a step does not fit."""
    ends = (plan.source_graph, plan.target_graph)
    if ends != (source.graph_digest, target.graph_digest):
        return False
    return apply(plan.steps, source.skeleton) == target.skeleton


def apply(steps: tuple[Step, ...], source: Skeleton) -> Skeleton:
    """What the steps make of a graph, in whatever order they come. Raises `PlanError`, naming the step."""
    site = _Site(source)
    for number, step in enumerate(steps):
        try:
            site.take(step)
        except PlanError as error:
            raise PlanError(f"step {number} ({type(step).__name__.lower()}) does not fit: {error}") from None
    try:
        return site.finish()
    except PlanError as error:
        raise PlanError(f"after step {len(steps) - 1}, the last one: {error}") from None


class _Site:
    """A graph while it is changed: which operators of the source are left, which places of the target are filled."""

    def __init__(self, source: Skeleton) -> None:
        self.source = source
        self.left = dict(enumerate(source.forms))
        self.placed: dict[int, str] = {}
        self.edge: Edge | None = None
        self.size = 0  # characters of all forms

    def take(self, step: Step) -> None:
        match step:
            case Replace():
                self.place(step.target, self.remove(step.operator, step.source))
            case Reshape():
                self.remove(step.operator, step.source)
                self.place(step.target, step.form)
            case Reduce():
                self.remove(step.operator, step.source)
            case Add():
                self.place(step.target, step.form)
            case Edge():
                if self.edge is not None:
                    raise PlanError("the data flow was given before")
                self.edge = step

    def remove(self, operator: str, position: int) -> str:
        form = self.left.pop(position, None)
        if form is None:
            count = len(self.source.forms)
            state = "was taken before" if position < count else f"is not there: the source has {count} operators"
            raise PlanError(f"the source's operator {position} {state}")
        if not form.startswith(f'["{operator}",'):
            raise PlanError(f"the source's operator {position} is not {operator[:100]!r} but {form[:100]}")
        return form

    def place(self, position: int, form: str) -> None:
        if position in self.placed:
            raise PlanError(f"the target's operator {position} was filled before")
        self.size += len(form)
        # One long form may be named by very many short steps.
        if self.size > package.MAX_JSON_BYTES:
            raise PlanError(f"the target grows beyond {package.MAX_JSON_BYTES} bytes, which no package may have")
        self.placed[position] = form

    def finish(self) -> Skeleton:
        count = len(self.placed)
        if self.left:
            raise PlanError(f"the source's operator {next(iter(self.left))} was neither used nor removed")
        gap = next((i for i in range(count) if i not in self.placed), None)
        if gap is not None:
            raise PlanError(f"the target's operator {gap} is missing, though {max(self.placed)} is there")
        if self.edge is not None and self.edge.operators != count:
            raise PlanError(f"the data flow is for {self.edge.operators} operators, but there are {count}")
        wiring = self.source.wiring if self.edge is None else self.edge.wiring
        return Skeleton(tuple([self.placed[i] for i in range(count)]), wiring)
