"""What becomes of an activation whose node, or the life of it, is over.

One rule: it is completed once. What was acknowledged is done; what was given to another node since is that node's;
what the node never took over runs elsewhere; what it did take over may have run, so it runs again only if its action
allows that, and is answered with an error otherwise. Never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.whisk.activation import ActivationId


@dataclass(frozen=True, slots=True)
class Case:
    """An activation that was sent to a life of a node which is over."""

    id: ActivationId
    offset: int  # in the node's topic
    attempt: int  # the first node that got it had number 1, the next one 2
    may_run_twice: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the topics say, read after the node can do no more."""

    taken_over: int  # the offset in its topic before which the node has taken over everything
    latest_attempt: int  # of this activation, at whatever node
    has_result: bool  # its controller has the result
    has_completion: bool  # its controller has the completion


class Fate(Enum):
    """What is to be done."""

    NOTHING = "it is completed, or another node's"
    DISPATCH = "send it to another node"
    COMPLETE = "its result was delivered; only its completion is owed"
    FAIL = "answer it with a system error"


def fate(case: Case, evidence: Evidence) -> Fate:
    """What becomes of it."""
    if evidence.has_completion or evidence.latest_attempt > case.attempt:
        return Fate.NOTHING
    if evidence.has_result:
        return Fate.COMPLETE
    if case.offset >= evidence.taken_over or case.may_run_twice:
        return Fate.DISPATCH
    return Fate.FAIL
