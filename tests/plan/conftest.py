"""Real models, captured once."""

from __future__ import annotations

import pytest

from instar.package import Package
from tests.plan import models


@pytest.fixture(scope="session")
def real_models(request: pytest.FixtureRequest) -> dict[str, Package]:
    """Small models of several families by name, without weights. Not to be changed."""
    assert request.config.cache is not None
    kept = request.config.cache.mkdir("instar-plan-models")
    return {name: models.captured(models.named(name), kept) for name in models.SMALL}
