"""One live model walks over all ordered pairs of models, and after each step is what a fresh load would give."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from instar.executor import transform
from instar.weights.fetch import Fetcher
from tests.transform.conftest import Packed

SEED = 6


def walk(names: Sequence[str]) -> Iterator[str]:
    """A closed walk that takes every step from one name to another exactly once."""
    first, *others = names
    yield first
    if others:
        yield from walk(others)
        yield first
        for other in others[1:]:
            yield from (other, first)


def test_the_walk_takes_every_step_once() -> None:
    path = list(walk("abcdef"))
    steps = list(pairwise(path))
    assert sorted(steps) == sorted((a, b) for a in "abcdef" for b in "abcdef" if a != b)


@pytest.mark.timeout(600, func_only=True)
def test_every_model_becomes_every_other_one_bit_by_bit(packed: dict[str, Packed], fetcher: Fetcher) -> None:
    names = sorted(packed)
    assert len(names) >= 24
    random.Random(SEED).shuffle(names)
    print(f"seed {SEED}")
    path = walk(names)
    model = packed[next(path)].load(fetcher)
    steps = 0
    for name in path:
        target = packed[name]
        transform.into(model, target.directory, fetcher=fetcher)
        model.wait()  # the store has it all; but what the machine has dropped from memory is read once more
        assert model.is_ready and not model.is_dirty
        assert model.spent().present_bytes == target.prepared.weights.size
        target.check(model)
        steps += 1
    model.close()
    assert steps == len(names) * (len(names) - 1)
