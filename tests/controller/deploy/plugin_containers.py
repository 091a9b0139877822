"""Programs of the plugin's image in containers, as an operator starts them; and a network that they share with the
tests, whose broker and database listen on loopback only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from brokers import Broker
from databases import PASSWORD, USERNAME, Databases
from deploy.image.engine import UNIX, Engine
from docker.models.containers import Container
from free_ports import free_port

USER = 65532  # of the image
LIVEZ = ["python3", "-I", "/opt/instar/livez.py"]


def surroundings(broker: Broker, topic_prefix: str, databases: Databases) -> dict[str, str]:
    """What tells a program where bus and databases are."""
    return {
        "KAFKA_HOSTS": broker.hosts,
        "CONFIG_whisk_kafka_topics_prefix": topic_prefix,
        "CONFIG_whisk_couchdb_host": databases.server.host,
        "CONFIG_whisk_couchdb_port": str(databases.server.port),
        "CONFIG_whisk_couchdb_username": USERNAME,
        "CONFIG_whisk_couchdb_password": PASSWORD,
        "CONFIG_whisk_couchdb_databases_WhiskAuth": databases.subjects,
        "CONFIG_whisk_couchdb_databases_WhiskEntity": databases.entities,
        "CONFIG_whisk_couchdb_databases_WhiskActivation": databases.activations,
        "PORT": str(free_port()),
        "INSTAR_HOST": "127.0.0.1",
    }


@contextlib.contextmanager
def running(
    engine: Engine, image: str, command: Sequence[str], environment: Mapping[str, str], *, store: Path | None = None
) -> Iterator[Container]:
    """A program that works, with the rights that compose.yaml gives it; with a `store` also with the engine's socket.

    What it had said is printed, for a test that fails.
    """
    engine_socket = engine.host.removeprefix(UNIX)
    mounts = [] if store is None else [f"{engine_socket}:/var/run/docker.sock", f"{store}:{store}"]
    container = engine.client.containers.run(
        image,
        [*command, "--json"],
        detach=True,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        group_add=[] if store is None else [str(os.stat(engine_socket).st_gid)],
        volumes=["/var/lib/instar/state", *mounts],
        environment=dict(environment),
    )
    try:
        _wait_for_event(engine, container, "working")
        yield container
    finally:
        print(container.logs().decode()[-5000:])
        container.remove(force=True, v=True)


def _wait_for_event(engine: Engine, container: Container, name: str) -> None:
    """Return when it has said so. Docker's own command follows the log, and is ended at once."""
    command = ["docker", "logs", "--follow", str(container.id)]
    with subprocess.Popen(
        command, env=engine.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as log:
        assert log.stdout is not None
        try:
            if any(json.loads(line)["event"] == name for line in log.stdout):
                return
        finally:
            log.kill()
    raise AssertionError(f"it ended: {container.logs().decode()[-3000:]}")
