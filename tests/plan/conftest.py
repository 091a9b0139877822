"""Real models, captured once."""

from __future__ import annotations

import pytest

from instar.package import Package
from tests.plan import models


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not count the time that capturing takes, once, against the test that happens to come first."""
    for item in items:
        if "real_models" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def real_models(request: pytest.FixtureRequest) -> dict[str, Package]:
    """Small models of several families by name, without weights. Not to be changed."""
    assert request.config.cache is not None
    kept = request.config.cache.mkdir("instar-plan-models")
    return {name: models.captured(models.named(name), kept) for name in models.SMALL}
