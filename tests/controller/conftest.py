"""Puts this folder on the path: `container_processes`, `databases` and `docker_rig` serve the tests of several of its
folders."""

from __future__ import annotations

from databases import database_server, databases, faulty_database

__all__ = ["database_server", "databases", "faulty_database"]
