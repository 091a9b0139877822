"""The plugin's programs in their own image: not as root, with nothing of their file system to write to, an invoker
with the machine's Docker socket and a store under the same path as outside. A broker and a database answer them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import composition
import plugin_containers
import pytest
from brokers import Broker
from databases import Databases
from deploy.image.engine import Engine
from plugin_containers import LIVEZ, USER
from tests.controller.cluster.whisk_controllers import Controller, action

pytestmark = pytest.mark.system

CODE = """
import os
def main(args):
    print('asked', args['who'])
    return {'greeting': 'Hello, ' + args['who'], 'host': os.environ['__OW_API_HOST']}
"""


@pytest.fixture
def store(docker_engine: Engine, controller_image: str, tmp_path: Path) -> Path:
    """A folder on the machine, made by the job of compose.yaml that makes it."""
    folder = tmp_path / "store"
    job = composition.services({**composition.filled_in(), "INSTAR_STORE": str(folder)})["store"]
    (program, *arguments) = job["entrypoint"]
    docker_engine.client.containers.run(
        controller_image,
        arguments,
        entrypoint=program,
        user=job["user"],
        network_mode=job["network_mode"],
        read_only=job["read_only"],
        volumes=[f"{folder}:{folder}"],  # the engine makes what is not there, as Compose is told to
        remove=True,
    )
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (USER, 0o755)
    return folder


@pytest.fixture
def controller(broker: Broker, topic_prefix: str) -> Iterator[Controller]:
    """It makes the topics that both sides write to, so it comes before them."""
    with contextlib.closing(Controller(broker.hosts, prefix=topic_prefix)) as made:
        yield made


@pytest.fixture
def containers(docker_engine: Engine) -> Iterator[Any]:
    """How many containers there are beside those of before. In the end there are none."""

    def there() -> set[str | None]:
        return {container.id for container in docker_engine.client.containers.list(all=True, ignore_removed=True)}

    def others() -> int:
        return len(there() - before)

    before = there()
    yield others
    assert others() == 0


def hello(controller: Controller, databases: Databases, kind: str) -> dict[str, Any]:
    """Invoke an action; what it returned, once it is also completed and its result was before that."""
    document = dict(action("guest/hello", CODE, {}))
    document["exec"] = {**document["exec"], "kind": kind}
    revision = databases.server.put(databases.entities, document)
    sent = controller.invoke("guest/hello", {"who": "Ada"}, revision=revision)
    result = controller.result(sent)
    completion = controller.completion(sent)
    assert sent.acks == [*sent.results, completion]
    assert completion.message["instance"]["instance"] == 0
    assert sent.annotations["instar"]["start"] in ("cold", "prewarmed")
    return dict(result)


@pytest.mark.timeout(400, func_only=True)  # two programs' starts and ends, and a function's
def test_an_invoker_runs_an_action_and_ends_without_a_trace(
    docker_engine: Engine,
    controller_image: str,
    action_image: str,
    containers: Any,
    controller: Controller,
    broker: Broker,
    topic_prefix: str,
    databases: Databases,
    store: Path,
) -> None:
    name, _, tag = action_image.partition(":")
    manifest = {"runtimes": {"python": [{"kind": "python:3", "image": {"name": name, "tag": tag}}]}}
    environment = {
        **plugin_containers.surroundings(broker, topic_prefix, databases),
        "INSTAR_INVOKER_ID": "0",
        "INSTAR_STORE": str(store),
        "RUNTIMES_MANIFEST": json.dumps(manifest),
        "WHISK_API_HOST_NAME": "openwhisk.example",
    }
    with plugin_containers.running(docker_engine, controller_image, ["invoker"], environment, store=store) as invoker:
        assert invoker.exec_run(LIVEZ).exit_code == 0
        result = hello(controller, databases, "python:3")
        assert result == {"greeting": "Hello, Ada", "host": "https://openwhisk.example:443"}
        invoker.stop(timeout=60)
        assert invoker.wait()["StatusCode"] == 0
        assert containers() == 1  # its own
    (record,) = databases.server.documents(databases.activations).values()
    assert record["response"]["result"] == result
    assert [line.split(" stdout: ", 1)[1] for line in record["logs"]] == ["asked Ada"]


@pytest.mark.timeout(400, func_only=True)  # two programs' starts and ends, and a function's
def test_a_dispatcher_and_a_node_work_with_what_compose_tells_them(
    docker_engine: Engine,
    controller_image: str,
    action_image: str,
    containers: Any,
    controller: Controller,
    broker: Broker,
    topic_prefix: str,
    databases: Databases,
    store: Path,
) -> None:
    services = composition.services({**composition.filled_in(), "INSTAR_STORE": str(store)})
    here = {
        "CONFIG_whisk_containerFactory_containerArgs_network": "bridge"
    }  # that of compose.yaml is Compose's to make

    def told(service: str) -> dict[str, str]:
        return services[service]["environment"] | plugin_containers.surroundings(broker, topic_prefix, databases)

    with (
        plugin_containers.running(
            docker_engine, controller_image, services["node-1"]["command"], told("node-1") | here, store=store
        ) as node,
        plugin_containers.running(
            docker_engine, controller_image, services["dispatcher"]["command"], told("dispatcher")
        ) as dispatcher,
    ):
        assert [program.exec_run(LIVEZ).exit_code for program in (node, dispatcher)] == [0, 0]
        ping = controller.wait_for_ping(enabled=True)
        assert ping["name"]["userMemory"] == "2147483648 B"  # NODE_MEMORY of the one node
        result = hello(controller, databases, "pytorch:2")
        assert result == {"greeting": "Hello, Ada", "host": "http://controller:8080"}
        shown = dispatcher.exec_run(["instar", "plans", "--cluster"])
        assert shown.exit_code == 1, shown.output
        # Nobody has a profile here; and the database may not be made yet.
        assert b"has no plans yet" in shown.output or b"has no database" in shown.output, shown.output
        for program in (dispatcher, node):
            program.stop(timeout=60)
            assert program.wait()["StatusCode"] == 0
        assert containers() == 2  # their own
