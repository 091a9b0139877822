"""What the executor does with a proposal, without processes: what it declines, and what a failure costs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from instar import package
from instar.errors import BusyError, InstarError, PackageError, PlanError
from instar.executor import meter, proposals, protocol, skeletons, succession
from instar.executor.live import LiveModel
from instar.executor.proposals import Outcome, Proposal
from instar.executor.protocol import Describe, Described, Open
from instar.executor.stay import Handed, Stay
from instar.executor.stores import Stores
from instar.executor.succession import Succession
from instar.plan import outline, planner, plans
from instar.plan.costs import Costs
from instar.weights import kernel
from instar.weights.retry import Patience
from tests.transform.conftest import Packed

ARENA_BYTES = 1 << 24


class Visit:
    """A worker's stay in a thread of this process, and the worker's end of its session."""

    def __init__(self, root: Path, stores: Stores, handed: Handed, *models: Packed) -> None:
        self.worker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        named = tuple((model.name, str(model.directory)) for model in models)
        self.stay = Stay(Open(named, str(root / "store"), str(root / "own")), theirs)
        page = meter.create()
        arguments = (stores, handed, meter.Counter(page))
        self._thread = threading.Thread(target=self.stay.serve, args=arguments, kwargs={"arena_bytes": ARENA_BYTES})
        self._thread.start()

    def described(self, name: str) -> protocol.Reply:
        """What the executor says of a model; it is loaded then."""
        self.worker.send(protocol.encode(1, Describe(name)))
        return protocol.decode_reply(self.worker.recv(protocol.FRAME_BYTES))[1]

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.stay.end()
        self.join()
        self.worker.close()


@pytest.fixture
def stores() -> Stores:
    return Stores(Patience())


@pytest.fixture
def handed() -> Iterator[Handed]:
    handed: Handed = {}
    yield handed
    for model in handed.values():
        model.close()


@pytest.fixture
def visit(root: Path, stores: Stores, handed: Handed, packed: dict[str, Packed]) -> Iterator[Visit]:
    visit = Visit(root, stores, handed, packed["residual"])
    assert isinstance(visit.described("residual"), Described)
    yield visit
    visit.close()


def proposal(root: Path, *models: Packed, plan: bytes | None = None) -> Proposal:
    named = tuple((model.name, str(model.directory)) for model in models)
    return Proposal(named, str(root / "store"), str(root / "own"), plan)


def plan_between(source: Packed, target: Packed) -> bytes:
    before, after = (outline.outline(package.decode(package.read(p.directory))) for p in (source, target))
    steps = planner.steps(before, after, Costs("test", {}))
    ends = before.digest, after.digest, before.graph_digest, after.graph_digest
    return plans.encode(plans.Plan(*ends, steps, plans.Estimate(1, 2)))


def carry_out(asked: Proposal, visit: Visit, stores: Stores, handed: Handed) -> Outcome:
    stock = stores.of(asked.store, asked.own)
    becoming = succession.consider(asked, stock, visit.stay)
    visit.join()  # its models are closed or promised by now
    ours, theirs = socket.socketpair()
    with ours:
        Succession(becoming, stock, theirs).carry_out(handed)
        answer = proposals.decode_answer(ours.recv(proposals.LINE_BYTES))
    assert isinstance(answer, Outcome)
    return answer


@pytest.mark.parametrize("name", ["residual-sibling", "encoder"])
def test_what_was_transformed_is_handed_to_the_next_stay(
    root: Path, stores: Stores, handed: Handed, visit: Visit, packed: dict[str, Packed], name: str
) -> None:
    target = packed[name]
    outcome = carry_out(proposal(root, target, plan=plan_between(packed["residual"], target)), visit, stores, handed)
    assert (outcome.model, outcome.failure) == (name, None) and outcome.transform_ns > 0
    (model,) = handed.values()
    assert all(torch.equal(a, b) for a, b in zip(model.run(target.inputs), target.answers, strict=True))
    following = Visit(root, stores, handed, target)
    assert isinstance(following.described(name), Described) and not handed
    assert following.stay.find(target.prepared.digest) == (model, target.directory)
    following.close()


def test_after_a_step_that_failed_the_next_stay_loads_afresh(
    root: Path, stores: Stores, handed: Handed, visit: Visit, packed: dict[str, Packed]
) -> None:
    target = packed["encoder"]
    asked = proposal(root, target, plan=plan_between(packed["residual"], target))
    with mock.patch.object(kernel, "map_over", side_effect=OSError("no more mappings")):
        outcome = carry_out(asked, visit, stores, handed)
    assert outcome.model is None and "no more mappings" in (outcome.failure or "")
    assert handed == {}
    following = Visit(root, stores, handed, target)
    assert isinstance(following.described("encoder"), Described)
    following.close()


def test_without_a_plan_nothing_is_kept(
    root: Path, stores: Stores, handed: Handed, visit: Visit, packed: dict[str, Packed]
) -> None:
    assert carry_out(proposal(root, packed["encoder"]), visit, stores, handed) == Outcome(None, None, 0)
    assert handed == {}


def test_what_was_handed_over_for_nothing_is_closed(
    root: Path, stores: Stores, handed: Handed, visit: Visit, packed: dict[str, Packed]
) -> None:
    target = packed["encoder"]
    carry_out(proposal(root, target, plan=plan_between(packed["residual"], target)), visit, stores, handed)
    following = Visit(root, stores, handed, packed["residual"])
    assert isinstance(following.described("residual"), Described)
    following.close()
    assert handed == {}


def test_a_model_that_is_run_at_this_moment_is_not_promised(
    root: Path, stores: Stores, visit: Visit, packed: dict[str, Packed]
) -> None:
    source, target = packed["residual"], packed["residual-sibling"]
    found = visit.stay.find(source.prepared.digest)
    assert found is not None
    asked = proposal(root, target, plan=plan_between(source, target))
    found[0]._turns.enter()
    try:
        with pytest.raises(BusyError):
            visit.stay.promise(found[0])
        with pytest.raises(PlanError, match="in use"):
            succession.consider(asked, stores.of(asked.store, asked.own), visit.stay)
    finally:
        found[0]._turns.leave()
    assert isinstance(visit.described("residual"), Described)  # and the session goes on


def test_a_damaged_package_is_found_before_anything_is_touched(
    root: Path, stores: Stores, visit: Visit, packed: dict[str, Packed], tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text("{}")
    asked = Proposal((("m", str(tmp_path)),), str(root / "store"), str(root / "own"), None)
    with pytest.raises(PackageError):
        succession.consider(asked, stores.of(asked.store, asked.own), visit.stay)
    assert isinstance(visit.described("residual"), Described)


def test_a_plan_from_a_model_that_has_gone_is_declined(
    root: Path, stores: Stores, visit: Visit, packed: dict[str, Packed]
) -> None:
    asked = proposal(root, packed["encoder"], plan=plan_between(packed["residual"], packed["encoder"]))
    visit.close()
    for stay in (visit.stay, None):
        with pytest.raises(InstarError, match="not loaded here"):
            succession.consider(asked, stores.of(asked.store, asked.own), stay)


def test_a_model_that_nobody_asks_rests_and_its_graph_is_kept(
    root: Path, stores: Stores, visit: Visit, packed: dict[str, Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    rested = threading.Event()
    monkeypatch.setattr(LiveModel, "rest", lambda model: rested.set())
    skeletons.forget()
    assert isinstance(visit.described("residual"), Described)
    assert rested.wait(60)
    assert isinstance(visit.described("residual"), Described)  # when this is answered the graph has been kept
    structure = packed["residual"].prepared.structure_digest
    assert list((root / "store" / "compiled").glob(f"{structure}.graph.*"))
