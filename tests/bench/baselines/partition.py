"""PISeL's partition solver: which consecutive layers are downloaded together.

Each request costs a latency, which stays hidden as long as the partition before it is larger than what the
connection carries meanwhile. Small partitions let loading and running begin early, so the best grouping is found by
dynamic programming over the cut points: the finish times of downloading, loading and running, as a recurrence, and of
all last cuts the one with which running ends first.

Pure: times in seconds, sizes in bytes, nothing measured here. Source: PISeL (CIKM'24); the exact form of the
recurrence is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer takes."""

    nbytes: int
    load_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class Link:
    """What a connection takes: a request's latency, its bandwidth in bytes a second."""

    latency_s: float
    bandwidth: float

    @property
    def cover_bytes(self) -> int:
        """What it carries during the latency of a request: how much hides the next one."""
        return math.ceil(self.latency_s * self.bandwidth)


@dataclass(frozen=True, slots=True)
class _Best:
    """The best grouping of the layers before a cut: when each stage has finished, and where the last group began."""

    downloaded: float
    loaded: float
    run: float
    first: int
    nbytes: int  # of the last group
    largest: int  # of all groups


def solve(layers: Sequence[LayerCost], link: Link, *, memory_bytes: float = math.inf) -> tuple[tuple[int, int], ...]:
    """Groups of layers, each from its first to its last (exclusive), with the least time until all have run.

    A group smaller than the cover is made only at the front. Among equals the one with the smaller largest group
    wins. Raises `ValueError` where no grouping stays within `memory_bytes`.
    """
    sums = [(0, 0.0, 0.0)]
    for layer in layers:
        nbytes, load_s, run_s = sums[-1]
        sums.append((nbytes + layer.nbytes, load_s + layer.load_s, run_s + layer.run_s))
    best: list[_Best | None] = [_Best(0.0, 0.0, 0.0, 0, 0, 0)]
    for _ in layers:
        best.append(_last_group(best, sums, link, memory_bytes))
    cuts = [len(layers)]
    while cuts[-1]:
        found = best[cuts[-1]]
        if found is None:
            raise ValueError(f"no grouping of {len(layers)} layers stays within {memory_bytes:.0f} bytes")
        cuts.append(found.first)
    cuts.reverse()
    return tuple(itertools.pairwise(cuts))


def _last_group(
    best: Sequence[_Best | None], sums: Sequence[tuple[int, float, float]], link: Link, memory_bytes: float
) -> _Best | None:
    """The best last group of the layers before cut `len(best)`."""
    end = len(best)
    cover = link.cover_bytes
    found: _Best | None = None
    for first in range(end):
        before = best[first]
        nbytes, load_s, run_s = (b - a for a, b in zip(sums[first], sums[end], strict=True))
        if before is None or nbytes > memory_bytes or (first > 0 and nbytes < cover):
            continue
        exposed = 0.0 if first > 0 and before.nbytes >= cover else link.latency_s
        downloaded = before.downloaded + exposed + nbytes / link.bandwidth
        loaded = max(downloaded, before.loaded) + load_s
        run = max(loaded, before.run) + run_s
        largest = max(before.largest, int(nbytes))
        if found is None or (run, largest) < (found.run, found.largest):
            found = _Best(downloaded, loaded, run, first, int(nbytes), largest)
    return found
