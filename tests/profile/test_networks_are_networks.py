"""What is measured with are packages like any other: graphs keep the grammar, they run, and digests are true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from instar import digests, package
from instar.executor import load
from instar.executor.profiling import architectures, subjects
from instar.executor.profiling.architectures import Architecture
from instar.executor.profiling.survey import QUICK, THOROUGH
from instar.graph import spec
from instar.weights import keeping
from instar.weights.fetch import Fetcher
from instar.weights.store import Store

SIZES = [
    (architectures.plain, 3, 20),
    (architectures.residual, 4, 4),
    (architectures.mobile, 2, 8),
    (architectures.concatenated, 3, 4),
    (architectures.encoder, 2, 128),
]


@pytest.mark.parametrize(("architecture", "depth", "width"), SIZES)
def test_a_network_runs(
    architecture: Architecture, depth: int, width: int, tmp_path: Path, store: Store, fetcher: Fetcher
) -> None:
    subject = subjects.make("one", architecture(depth, width), tmp_path / "one", store, seed=1)
    decoded = package.decode(package.read(subject.folder))
    assert decoded.digest == subject.outline.digest
    model = load.begin(subject.folder, fetcher=fetcher)
    (answer,) = model.run(subject.inputs)
    assert answer.dtype == torch.float32 and answer.numel() > 0
    model.close()


@pytest.mark.parametrize(("architecture", "depth", "width"), SIZES)
def test_a_deeper_network_has_more_operators_and_a_wider_one_as_many_but_more_bytes(
    architecture: Architecture, depth: int, width: int
) -> None:
    one, deeper, wider = architecture(depth, width), architecture(2 * depth, width), architecture(depth, 2 * width)
    assert len(deeper.nodes) > len(one.nodes) == len(wider.nodes)
    assert architectures.nbytes(wider) > architectures.nbytes(one)


def test_the_weights_in_the_store_are_what_their_digests_say(tmp_path: Path, store: Store) -> None:
    subject = subjects.make("one", architectures.residual(2, 4), tmp_path / "one", store, seed=1)
    assert [finding.is_right for finding in keeping.verify(store, lambda count: None)] == [True]
    decoded = package.decode(package.read(subject.folder))
    data = store.place(decoded.weights.digest).read_bytes()
    for tensor in decoded.tensors:
        assert digests.hexdigest(data[tensor.offset : tensor.offset + tensor.nbytes]) == tensor.digest


def test_other_weights_are_other_digests_in_the_same_layout(tmp_path: Path, store: Store) -> None:
    graph = architectures.plain(2, 20)
    a, b = (subjects.make(str(seed), graph, tmp_path / str(seed), store, seed=seed).outline for seed in (1, 2))
    assert a.graph_digest == b.graph_digest
    for one, other in zip(a.holdings, b.holdings, strict=True):
        assert [h.layout for h in one] == [h.layout for h in other]
        assert all(x.digest != y.digest for x, y in zip(one, other, strict=True))


def test_what_is_measured_spans_few_and_many_operators_and_small_and_large_files() -> None:
    graphs = [n.architecture(n.depth, n.width) for n in THOROUGH.networks]
    for graph in graphs:
        spec.check(graph)
    counts, sizes = [len(g.nodes) for g in graphs], [architectures.nbytes(g) for g in graphs]
    assert min(counts) <= 10 and max(counts) >= 600
    assert min(sizes) <= 200e3 and max(sizes) >= 600e6
    assert len(QUICK.networks) < len(THOROUGH.networks)
