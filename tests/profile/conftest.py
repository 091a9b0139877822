"""A few small networks to measure with, and a place for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from instar.executor.profiling import architectures, measuring
from instar.executor.profiling.survey import Network, Survey
from instar.weights.fetch import Fetcher
from instar.weights.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def fetcher(store: Store) -> Iterator[Fetcher]:
    fetcher = Fetcher(store)
    yield fetcher
    fetcher.close()


@pytest.fixture
def tiny() -> Survey:
    return Survey(
        (
            Network(architectures.plain, 2, 20, "w"),
            Network(architectures.residual, 2, 4, "wa"),
            Network(architectures.encoder, 1, 64),
        ),
        strangers=3,
        rounds=2,
        budget_s=60,
    )


@pytest.fixture(autouse=True)
def caches_may_stay_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it does not matter how long anything takes."""
    monkeypatch.setattr(measuring, "COLD_BYTES", 4096)
    measuring._ballast.cache_clear()
