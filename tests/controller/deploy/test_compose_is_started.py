"""deploy/compose.yaml as Compose starts it: an action goes through dispatcher, node and container and back, a node is
killed and another takes over, and in the end nothing is left of it.

Kafka, CouchDB and the controller have stand-ins (`stand_in_images`); everything else is what is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import stand_in_images
import whisk_sources
from deploy.image import names
from deploy.image.engine import Engine
from started_composition import StartedComposition

pytestmark = pytest.mark.system

NODES = ("node-1", "node-2")
PROGRAMS = ("dispatcher", *NODES)
HELLO = "/api/v1/namespaces/_/actions/hello"


@pytest.fixture(scope="module")
def images(docker_engine: Engine, controller_image: str, action_image: str) -> Mapping[str, str]:
    """The stand-ins, and beside them Instar's two images."""
    return stand_in_images.build(docker_engine, controller_image)


@pytest.fixture
def composed(docker_engine: Engine, images: Mapping[str, str], tmp_path: Path) -> Iterator[StartedComposition]:
    """Not started yet. What its services said is printed, for a test that fails."""
    sources = tmp_path / "openwhisk"
    whisk_sources.write(sources / "ansible" / "files")
    made = StartedComposition(docker_engine, tmp_path, sources, images)
    made.run("down", "--volumes", "--timeout", "1")  # what a run left that was killed
    yield made
    print(made.run("logs", "--no-color")[-20_000:])
    made.run("down", "--volumes", "--timeout", "1")
    for container in docker_engine.client.containers.list(
        all=True, filters={"network": "instar-functions"}, ignore_removed=True
    ):
        container.remove(force=True)


def everything(engine: Engine) -> Mapping[str, set[str]]:
    """What an engine has beside images."""
    client = engine.client
    return {
        "containers": {one.name for one in client.containers.list(all=True, ignore_removed=True)},
        "networks": {one.name for one in client.networks.list()},
        "volumes": {one.name for one in client.volumes.list()},
    }


def functions(engine: Engine) -> set[str]:
    """The containers of functions, by their names."""
    return {name for name in everything(engine)["containers"] if name.startswith("wsk")}


def greeting(composed: StartedComposition, who: str) -> Any:
    """Invoke the action; its activation, which has to be a good one."""
    activation = composed.ask_api("POST", f"{HELLO}?blocking=true", {"name": who})
    assert activation["response"]["result"] == {"greeting": f"Hello, {who}!"}
    return activation


@pytest.mark.timeout(900, func_only=True)
def test_an_action_is_answered_also_when_a_node_is_killed_and_nothing_is_left_behind(
    docker_engine: Engine, composed: StartedComposition
) -> None:
    before = everything(docker_engine)
    composed.run("up", "--detach", "--pull", "never")

    code = (names.ROOT / "actions" / "hello" / "hello.py").read_text(encoding="utf-8")
    composed.ask_api("PUT", HELLO, {"exec": {"kind": "pytorch:2", "code": code}})
    activation = greeting(composed, "Ada")
    (line,) = composed.record(activation["activationId"])["logs"]
    assert line.endswith(" stdout: greeting Ada")
    composed.wait_for_invokers(1)

    # Where it ran the function is warm: the dispatcher would choose that node again.
    counts = composed.wait_for_activations(NODES, 1)
    first, other = sorted(NODES, key=lambda node: counts[node], reverse=True)
    assert (counts[first], counts[other]) == (1, 0)
    composed.run("kill", first)
    greeting(composed, "Grace")
    assert composed.wait_for_activations([other], 1) == {other: 1}

    # The killed one removes what it had left, once it is there again.
    orphans = functions(docker_engine)
    composed.run("up", "--detach", "--pull", "never", first)
    composed.wait_until_ready(first)

    composed.run("stop")
    assert functions(docker_engine) == set(), orphans
    states = composed.states()
    assert {name: states[name]["ExitCode"] for name in PROGRAMS} == dict.fromkeys(PROGRAMS, 0)
    composed.run("down", "--volumes")
    assert everything(docker_engine) == before
