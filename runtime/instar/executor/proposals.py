"""What the proxy proposes to the executor, that the container become another function, and how that is answered.

A proposal has a socket of its own, which the zygote hands on. The proxy writes it and says no more; the executor
answers with one line, `Agreed` or `Declined`, and, if it agreed, with an `Outcome` when it has done its part:

    proxy                                    executor
    Proposal, to the end of file        ->   Declined: nothing was touched
                                             Agreed: the session with the worker ends, its models are let go of
                                             Outcome: what became of the plan

The rule: what does not decode to exactly one of these is a `ProtocolError`, though both sides are ours. The plan is
bytes here; whether it is one, and leads anywhere, is for the executor to find out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from instar.errors import ProtocolError
from instar.plan import plans

LINE_BYTES = 128 * 1024  # of an answer, and of a proposal beside its plan
REASON_CHARACTERS = 4096
MAX_BYTES = LINE_BYTES + plans.MAX_BYTES + 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """Let there be these models instead of those that there are."""

    models: tuple[tuple[str, str], ...]  # (name, package directory)
    store: str  # directory of the node's weights files
    own: str  # directory for what that one cannot take, where it is mounted read-only
    plan: bytes | None  # how one that is live becomes one of these; without it nothing is kept


@dataclass(frozen=True, slots=True)
class Agreed:
    """So be it."""


@dataclass(frozen=True, slots=True)
class Declined:
    """It cannot be; everything is as it was."""

    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is there for the new function: `model`, which was transformed, or nothing, and then why a plan failed."""

    model: str | None
    failure: str | None
    transform_ns: int  # how long it took


Answer = Agreed | Declined | Outcome


def encode(proposal: Proposal) -> bytes:
    """Raises `ProtocolError` where it names more models than fit."""
    head = json.dumps([proposal.models, proposal.store, proposal.own, proposal.plan is not None]).encode("ascii")
    if len(head) > LINE_BYTES:
        raise ProtocolError(f"a proposal of {len(head)} bytes beside its plan; at most {LINE_BYTES} fit")
    return head + b"\n" + (proposal.plan or b"")


def decode(data: bytes) -> Proposal:
    """Raises `ProtocolError`."""
    head, newline, plan = data.partition(b"\n")
    if newline and len(head) <= LINE_BYTES and len(plan) <= plans.MAX_BYTES:
        match _parse(head):
            case [[*models], str(store), str(own), bool(has_plan)] if has_plan or not plan:
                return Proposal(tuple(map(_model, models)), store, own, plan if has_plan else None)
    raise ProtocolError(f"no proposal: {data[:80]!r}")


def encode_answer(answer: Answer) -> bytes:
    """One line."""
    match answer:
        case Agreed():
            document: list[Any] = ["agreed"]
        case Declined(reason):
            document = ["declined", reason[:REASON_CHARACTERS]]
        case Outcome(model, failure, transform_ns):
            document = ["outcome", model, None if failure is None else failure[:REASON_CHARACTERS], transform_ns]
    return json.dumps(document).encode("ascii") + b"\n"


def decode_answer(line: bytes) -> Answer:
    """Raises `ProtocolError`."""
    match _parse(line):
        case ["agreed"]:
            return Agreed()
        case ["declined", str(reason)]:
            return Declined(reason)
        case ["outcome", str() | None as model, str() | None as failure, int(transform_ns)]:
            return Outcome(model, failure, transform_ns)
    raise ProtocolError(f"no answer to a proposal: {line[:80]!r}")


def _model(item: Any) -> tuple[str, str]:
    match item:
        case [str(name), str(path)]:
            return name, path
    raise ProtocolError(f"no name and directory of a model: {str(item)[:80]}")


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line is not JSON: {error}") from error
