"""Puts this folder on the path: `brokers`, `databases`, `outputs` and others serve several of its folders."""

from __future__ import annotations

from brokers import broker, own_broker, topic_prefix
from databases import database_server, databases, faulty_database

__all__ = ["broker", "database_server", "databases", "faulty_database", "own_broker", "topic_prefix"]
