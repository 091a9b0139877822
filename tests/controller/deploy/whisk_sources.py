"""The part of a checkout of OpenWhisk that deploy/databases.py reads, with the tests' own documents in it."""

from __future__ import annotations

import json
from pathlib import Path

import openwhisk_views
from deploy import databases as setup

KEY = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:" + "k" * 64
# What OpenWhisk calls its files, and the documents that stand for them here.
DESIGNS = {
    "auth_design_document_for_subjects_db_v2.0.0.json": openwhisk_views.SUBJECTS[0],
    "namespace_throttlings_design_document_for_subjects_db.json": openwhisk_views.SUBJECTS[1],
    "whisks_design_document_for_entities_db_v2.1.0.json": openwhisk_views.ENTITIES[0],
    "whisks_design_document_for_activations_db_v2.1.0.json": openwhisk_views.ACTIVATIONS[0],
    "whisks_design_document_for_activations_db_filters_v2.1.1.json": openwhisk_views.ACTIVATIONS[1],
    "activations_design_document_for_activations_db.json": openwhisk_views.ACTIVATIONS[2],
    "logCleanup_design_document_for_activations_db.json": openwhisk_views.ACTIVATIONS[3],
    "filter_design_document.json": {
        "_id": "_design/snapshotFilters",
        "filters": {"all": "function (d) { return 1 }"},
    },
}


def write(folder: Path) -> None:
    """Make the folder what `ansible/files` of a checkout is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in DESIGNS.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    for subject in setup.SUBJECTS:
        (folder / f"auth.{subject}").write_text(f"{KEY}\n", encoding="ascii")
