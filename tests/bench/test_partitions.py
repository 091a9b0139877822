"""PISeL's solver: groups of consecutive layers, none too small to hide a request, and the least makespan."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from tests.bench.baselines.partition import LayerCost, Link, solve

SEED = 20


def finish(layers: list[LayerCost], groups: tuple[tuple[int, int], ...], link: Link) -> float:
    downloaded = loaded = run = 0.0
    before = 0
    for first, last in groups:
        nbytes = sum(layer.nbytes for layer in layers[first:last])
        exposed = 0.0 if first and before >= link.cover_bytes else link.latency_s
        downloaded += exposed + nbytes / link.bandwidth
        loaded = max(downloaded, loaded) + sum(layer.load_s for layer in layers[first:last])
        run = max(loaded, run) + sum(layer.run_s for layer in layers[first:last])
        before = nbytes
    return run


def groupings(count: int) -> list[tuple[tuple[int, int], ...]]:
    return [
        tuple(itertools.pairwise((0, *cuts, count)))
        for size in range(count)
        for cuts in itertools.combinations(range(1, count), size)
    ]


def test_groups_cover_all_layers_in_order() -> None:
    layers = [LayerCost(1000 * (1 + i % 3), 1e-4, 1e-3) for i in range(20)]
    groups = solve(layers, Link(1e-3, 1e6))
    assert groups[0][0] == 0 and groups[-1][1] == 20
    assert all(a[1] == b[0] for a, b in itertools.pairwise(groups))


def test_no_group_but_the_first_is_smaller_than_the_cover() -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    layers = [LayerCost(rng.randrange(1, 3000), 1e-4, 1e-3) for _ in range(40)]
    link = Link(2e-3, 1e6)
    for first, last in solve(layers, link)[1:]:
        assert sum(layer.nbytes for layer in layers[first:last]) >= link.cover_bytes


def test_without_latency_every_layer_is_a_group() -> None:
    layers = [LayerCost(1000, 0.0, 1e-3)] * 10
    assert len(solve(layers, Link(0.0, 1e6))) == 10


def test_a_link_that_is_all_latency_gets_one_group() -> None:
    layers = [LayerCost(1000, 1e-5, 1e-5)] * 10
    assert solve(layers, Link(10.0, 1e6)) == ((0, 10),)


def test_it_finds_what_trying_every_grouping_finds() -> None:
    """Running is slower than the link here, so that the recurrence's greedy choice is also the best one."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    link = Link(1e-3, 1e6)
    for _ in range(20):
        layers = [LayerCost(rng.randrange(1000, 3000), 1e-4, 5e-3) for _ in range(8)]
        found = finish(layers, solve(layers, link), link)
        assert found == pytest.approx(min(finish(layers, groups, link) for groups in groupings(8)))


def test_a_limit_on_memory_makes_groups_smaller() -> None:
    layers = [LayerCost(1000, 1e-5, 1e-5)] * 10
    link = Link(0.003, 1e6)
    assert max(last - first for first, last in solve(layers, link, memory_bytes=5000)) <= 5
    with pytest.raises(ValueError, match="stays within"):
        solve(layers, link, memory_bytes=500)


def test_the_cover_is_what_passes_during_a_request() -> None:
    assert Link(2e-3, 1e9).cover_bytes == 2_000_000
    assert math.isclose(Link(0.0, 1e9).cover_bytes, 0)
