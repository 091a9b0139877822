"""Questions to the image's own Python, answered in JSON."""

from __future__ import annotations

import json
from typing import Any

from deploy.image.engine import Engine

from tests.image.containers import LABEL


def ask(engine: Engine, image: str, code: str) -> Any:
    """What `code`, run in a container without a network, prints as JSON."""
    printed = engine.client.containers.run(
        image, ["-c", code], entrypoint="python", remove=True, labels={LABEL: "image"}, network_mode="none"
    )
    return json.loads(printed)
