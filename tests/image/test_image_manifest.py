"""`deploy/runtimes.json`: what an operator gives to OpenWhisk says the same as what `instar serve` starts with."""

from __future__ import annotations

import json

from deploy.image import names

from instar_controller.whisk import manifest
from instar_controller.whisk.manifest import Manifest


def deployed() -> Manifest:
    return manifest.parse(json.loads((names.DEPLOY / "runtimes.json").read_text(encoding="utf-8")))


def test_the_kind_is_the_one_that_serve_knows() -> None:
    kind = deployed().resolve("pytorch:2")
    assert kind is not None
    assert kind == manifest.DEFAULT.resolve("pytorch:2")
    assert kind.image == names.IMAGE
    assert kind.stem_cells


def test_the_stock_kinds_stay() -> None:
    images = {kind.kind: kind.image for kind in deployed().kinds}
    del images["pytorch:2"]
    assert images == {
        "nodejs:20": "openwhisk/action-nodejs-v20:nightly",
        "python:3.11": "openwhisk/action-python-v3.11:1.20.0",
    }
