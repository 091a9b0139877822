"""A database as the contract suites need it: the ports over it, and how a test writes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from instar_controller.cluster_ports import Entities, Records, Subjects
from instar_controller.engines.keeper import Shelf
from instar_controller.whisk.values import JsonObject


class KeptRecords(Records, Shelf, Protocol):
    """Records, one by one and in batches."""


@dataclass
class Maker:
    """The ports over databases, and the databases' own side."""

    entities: Entities
    subjects: Subjects
    records: KeptRecords
    put: Callable[[JsonObject], str]  # writes an entity, with `_rev` if it replaces one; the new revision
    delete: Callable[[str, str], str]  # id and revision of an entity; the deletion's revision
    attach: Callable[[str, str, str, bytes], str]  # id, revision, name, content; the new revision
    put_subject: Callable[[JsonObject], str]
    stored_records: Callable[[], dict[str, JsonObject]]  # by id


def action(id: str, code: str = "def main(args): return args", **more: object) -> dict[str, object]:
    """An action's document."""
    namespace, _, name = id.rpartition("/")
    return {
        "_id": id,
        "entityType": "action",
        "namespace": namespace,
        "name": name,
        "version": "0.0.1",
        "publish": False,
        "exec": {"kind": "python:3", "code": code, "binary": False},
        "parameters": [],
        "annotations": [],
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        "updated": 1795314650605,
        **more,
    }
