"""Puts this folder on the path: `brokers`, `databases`, `outputs` and others serve several of its folders."""

from __future__ import annotations

import pytest
from brokers import broker, own_broker, topic_prefix
from databases import database_server, databases, faulty_database

__all__ = ["broker", "database_server", "databases", "faulty_database", "own_broker", "topic_prefix"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not count the minutes that npm may take to bring the database server, once, against the test that happens to
    come first."""
    for item in items:
        if "database_server" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))
