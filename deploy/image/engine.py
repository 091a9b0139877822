"""The Docker Engine: the running one, and which client on this machine can build with it.

Questions go through Docker's client for Python. Builds go through the command line, since only that one speaks to
BuildKit; several may be installed, and not every one can build with BuildKit, so they are asked.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
from deploy.image.errors import NoEngine
from docker.errors import DockerException

UNIX = "unix://"
DEFAULT_HOST = f"{UNIX}/var/run/docker.sock"
BUILDERS = ("buildkit", "legacy")
ANSWER_S = 60  # a busy engine answers late, a dead one does not


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that has answered. Whoever has it closes the client."""

    host: str  # as in DOCKER_HOST
    client: docker.DockerClient

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which a command line speaks to this engine."""
        return {**os.environ, "DOCKER_HOST": self.host}


@dataclass(frozen=True, slots=True)
class Builder:
    """A command line, and the builder that it can drive."""

    command: str  # its path
    name: str  # one of BUILDERS


def connect(environ: Mapping[str, str]) -> Engine:
    """The engine at `DOCKER_HOST`, or at the default socket. Raises `NoEngine`."""
    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    try:
        if host.startswith(UNIX):  # Docker's client leaves a socket open where nobody listens
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                knock.connect(host.removeprefix(UNIX))
        client = docker.DockerClient(base_url=host, version="auto", timeout=ANSWER_S)
    except (OSError, DockerException) as error:
        raise NoEngine(
            f"no Docker Engine answers at {host} ({error}); start one, or name its socket in DOCKER_HOST"
        ) from error
    return Engine(host, client)


def builder(engine: Engine, *names: str) -> Builder:
    """The first of these builders that some command line on the path can drive. Raises `NoEngine`."""
    clients = list(_clients())
    for name in names:
        for command in clients:
            if _can_build(engine, command, name):
                return Builder(command, name)
    found = f"asked {', '.join(clients)}" if clients else "there is none on the path"
    raise NoEngine(f"no `docker` command can build with {' or '.join(names)} on {engine.host} ({found})")


def _clients() -> Iterator[str]:
    """Each `docker` on the path, the same program once."""
    seen = set()
    for folder in os.get_exec_path():
        command = shutil.which("docker", path=folder)
        if command is not None and (real := Path(command).resolve()) not in seen:
            seen.add(real)
            yield command


def _can_build(engine: Engine, command: str, name: str) -> bool:
    version = _output(engine, command, "version", "--format", "{{.Client.Version}}")
    if version is None:
        return False
    # From version 23 on BuildKit is driven by a plug-in, which may not be there.
    own = int(version.partition(".")[0]) < 23
    return name == "legacy" or own or _output(engine, command, "buildx", "version") is not None


def _output(engine: Engine, *command: str) -> str | None:
    try:
        done = subprocess.run(
            command, env=engine.environ, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
