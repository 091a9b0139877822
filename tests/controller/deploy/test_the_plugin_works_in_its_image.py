"""`instar invoker` in its own image, as an operator starts it: not as root, with nothing of its file system to write
to, with the machine's Docker socket and a store under the same path as outside. A broker and a database answer it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from databases import PASSWORD, USERNAME, Databases
from deploy.image.engine import UNIX, Engine
from docker.models.containers import Container
from tests.controller.cluster.whisk_controllers import Controller, action

pytestmark = pytest.mark.system

USER = 65532
NAME = "deploy-test"
CODE = """
import os
def main(args):
    print('asked', args['who'])
    return {'greeting': 'Hello, ' + args['who'], 'uid': os.getuid(), 'host': os.environ['__OW_API_HOST']}
"""


def manifest_of(image: str) -> str:
    prefix, _, rest = image.rpartition("/")
    name, _, tag = rest.partition(":")
    return json.dumps({"runtimes": {"python": [{"kind": "python:3", "image": _image(prefix, name, tag)}]}})


def _image(prefix: str, name: str, tag: str) -> dict[str, str]:
    return {"prefix": prefix, "name": name, "tag": tag}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder on the machine that belongs to the user of the image, as `install -d -o 65532` makes it."""
    folder = tmp_path / "store"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def controller(broker: Broker, topic_prefix: str) -> Iterator[Controller]:
    """Before the invoker: it makes the topics that both sides write to."""
    with contextlib.closing(Controller(broker.hosts, prefix=topic_prefix)) as made:
        yield made


@pytest.fixture
def invoker(
    controller: Controller,
    docker_engine: Engine,
    controller_image: str,
    action_image: str,
    broker: Broker,
    topic_prefix: str,
    databases: Databases,
    store: Path,
) -> Iterator[Container]:
    """The invoker's container. It shares this machine's network, for bus and database listen on loopback only."""
    engine_socket = docker_engine.host.removeprefix(UNIX)
    port = str(free_port())
    container = docker_engine.client.containers.run(
        controller_image,
        ["invoker", "--json"],
        detach=True,
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        group_add=[str(os.stat(engine_socket).st_gid)],
        volumes=["/var/lib/instar/state", f"{engine_socket}:/var/run/docker.sock", f"{store}:{store}"],
        environment={
            "PORT": port,
            "INSTAR_INVOKER_ID": "0",
            "INVOKER_NAME": NAME,
            "INSTAR_STORE": str(store),
            "INSTAR_LOG_FORMAT": "json",
            "INSTAR_DRAIN": "5",
            "INSTAR_PREWARM": "none",
            "RUNTIMES_MANIFEST": manifest_of(action_image),
            "WHISK_API_HOST_NAME": "openwhisk.example",
            "KAFKA_HOSTS": broker.hosts,
            "CONFIG_whisk_kafka_topics_prefix": topic_prefix,
            "CONFIG_whisk_couchdb_host": databases.server.host,
            "CONFIG_whisk_couchdb_port": str(databases.server.port),
            "CONFIG_whisk_couchdb_username": USERNAME,
            "CONFIG_whisk_couchdb_password": PASSWORD,
            "CONFIG_whisk_couchdb_databases_WhiskAuth": databases.subjects,
            "CONFIG_whisk_couchdb_databases_WhiskEntity": databases.entities,
            "CONFIG_whisk_couchdb_databases_WhiskActivation": databases.activations,
        },
    )
    yield container
    print(container.logs().decode()[-5000:])
    with contextlib.suppress(Exception):
        container.remove(force=True, v=True)


def wait_for_event(engine: Engine, container: Container, name: str) -> None:
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


@pytest.mark.timeout(120)
def test_it_runs_an_action_and_ends_without_a_trace(
    docker_engine: Engine, controller: Controller, invoker: Container, databases: Databases
) -> None:
    before = set(docker_engine.client.containers.list(all=True)) - {invoker}
    wait_for_event(docker_engine, invoker, "working")
    status, said = invoker.exec_run(["python3", "-I", "/opt/instar/livez.py"])
    assert (status, said.strip()) == (0, b"200 ok")

    revision = databases.server.put(databases.entities, dict(action("guest/hello", CODE)))
    sent = controller.invoke("guest/hello", {"who": "Ada"}, revision=revision)
    result = controller.result(sent)
    controller.completion(sent)
    assert result["greeting"] == "Hello, Ada"
    assert result["host"] == "https://openwhisk.example:443"
    assert "initTime" in sent.annotations

    invoker.stop(timeout=30)
    assert invoker.wait()["StatusCode"] == 0
    assert set(docker_engine.client.containers.list(all=True)) - {invoker} == before
    (record,) = databases.server.documents(databases.activations).values()
    assert record["response"]["result"] == result
    assert [line.split(" ", 2)[2] for line in record["logs"]] == ["asked Ada"]
