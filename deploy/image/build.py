"""Docker's build of an image from what lies ready: the one place that starts a build."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from deploy.image import names
from deploy.image.engine import Builder, Engine
from deploy.image.errors import BuildError

LAST_LINES = 12


def build(engine: Engine, builder: Builder, dockerfile: Path, tag: str, labels: Mapping[str, str]) -> None:
    """Build and tag the image. Docker's words go to standard error if that is a terminal. Raises `BuildError`."""
    command = [builder.command, "build", "--file", str(dockerfile), "--tag", tag]
    for name, value in labels.items():
        command += ["--label", f"{name}={value}"]
    environ = {**engine.environ, "DOCKER_BUILDKIT": "1" if builder.name == "buildkit" else "0"}
    environ["BUILDKIT_PROGRESS"] = "plain"
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        [*command, str(names.ROOT)],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as docker:
        assert docker.stdout is not None
        for line in docker.stdout:
            last.append(line)
            if sys.stderr.isatty():
                print(line, end="", file=sys.stderr)
    if docker.returncode:
        raise BuildError(f"{builder.command} build ended with {docker.returncode}; its last words:\n{''.join(last)}")
