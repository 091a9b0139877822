"""What whoever sends for weights promises: one suite over the node's store and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from jobs import action, invocation
from nodes import KIND, Node
from parcels import Parcel, archive

from instar_controller.clients.memory import MemoryWeights
from instar_controller.ports import Delivery, Weights
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.weights import Amounts

NEEDY, OTHER = 1, 2  # revisions: one whose model has weights elsewhere, and one without a model


@dataclass
class Subject:
    weights: Weights
    begin: Callable[[Invocation], Delivery]  # and return when all has been sent for
    settle: Callable[[], None]  # return when all has arrived


@pytest.fixture(params=["memory", "store"])
def subject(request: pytest.FixtureRequest, make_node: Callable[..., Node], sent: Parcel) -> Subject:
    if request.param == "memory":
        memory = MemoryWeights({NEEDY: len(sent.data)})
        return Subject(memory, memory.begin, lambda: None)
    node = make_node()
    return Subject(node.weights, node.send_for, lambda: node.wait_for(sent))


@pytest.fixture
def needy(sent: Parcel) -> Invocation:
    code = archive({"model.json": sent.model_json()})
    return invocation(action(code, kind=KIND, binary=True), revision=NEEDY)


def test_what_comes_is_counted_once_and_is_there_from_then_on(
    subject: Subject, needy: Invocation, sent: Parcel
) -> None:
    first = subject.begin(needy)
    subject.settle()
    assert first.amounts() == Amounts(0, len(sent.data))
    second = subject.begin(needy)
    assert second.amounts() == Amounts(len(sent.data), 0)
    for delivery in (first, second, second):
        delivery.close()


def test_an_action_without_weights_elsewhere_gets_none(subject: Subject) -> None:
    assert subject.begin(invocation(action(kind=KIND), revision=OTHER)).amounts() is None


def test_after_the_end_nothing_is_brought_and_nothing_raises(subject: Subject, needy: Invocation) -> None:
    subject.weights.close()
    subject.weights.close()
    delivery = subject.begin(needy)
    assert delivery.amounts() is None
    delivery.close()
