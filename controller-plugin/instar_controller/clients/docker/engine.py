"""The Docker engine, asked through its own Python client.

One rule: no error of the client or of its HTTP library leaves this file; what the engine refuses is a
`ContainerError` in its words. Every call has a limit, those of OpenWhisk's Docker factory, but for the two
that wait for a container's end.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import docker
import docker.constants
import docker.errors
import docker.utils
import requests
import urllib3

from instar_controller.clients.docker import output
from instar_controller.errors import ContainerError, SettingsError, UnansweredError
from instar_controller.whisk.values import JsonObject

LIMIT_S = 60
BRISK_LIMIT_S = 10  # of what an engine does at once, and somebody waits for
ASK_LIMIT_S = 5
PULL_LIMIT_S = 600
CONNECTIONS = 256  # kept open; each container's log holds one
SIGNALS_FROM = 128  # an exit status above it names the signal


@dataclass(frozen=True, slots=True)
class State:
    """What the engine says about a container. `status` counts once it has ended: as in `ports.Ending`."""

    has_ended: bool
    status: int
    was_out_of_memory: bool


class Engine:
    """One engine. Safe for several threads; every method may raise `ContainerError`, and `UnansweredError`
    where the engine has said nothing."""

    def __init__(self, api: Any, brisk: Any) -> None:
        """`api` and `brisk` are clients of the same engine; `brisk` has less patience."""
        self._api = api
        self._brisk = brisk

    def ask(self) -> None:
        """Return if it answers. Raises `UnansweredError` if it does not."""
        with _translated("the Docker engine does not answer"):
            try:
                answer = self._brisk.get(f"{self._brisk.base_url}/_ping", timeout=ASK_LIMIT_S)
                answer.raise_for_status()
            except requests.HTTPError as error:
                raise UnansweredError(f"the Docker engine is not well: {error}") from error

    def create(self, name: str, config: JsonObject) -> None:
        """Make a container, without starting it."""
        with _translated(f"container {name} cannot be made"):
            try:
                self._api.create_container_from_config(config, name)
            except docker.errors.ImageNotFound as error:
                raise ContainerError(lacks(str(config["Image"]))) from error

    def start(self, name: str) -> None:
        with _translated(f"container {name} cannot be started"):
            self._api.start(name)

    def address(self, name: str, network: str) -> str:
        """Its IP address on that network."""
        with _translated(f"container {name} cannot be inspected"):
            networks = self._api.inspect_container(name)["NetworkSettings"]["Networks"]
        address = networks.get(network, {}).get("IPAddress")
        if not address:
            raise ContainerError(f"container {name} has no address on the network '{network}'")
        return str(address)

    def state(self, name: str) -> State:
        with _translated(f"container {name} cannot be inspected"):
            found = self._brisk.inspect_container(name)["State"]
        code = found["ExitCode"]
        status = SIGNALS_FROM - code if code > SIGNALS_FROM else code
        return State(found["Status"] in ("exited", "dead"), status, found["OOMKilled"] is True)

    def process(self, name: str) -> tuple[int, str] | None:
        """The number of its first process, as the engine's machine counts, and its full id; None if it does not run,
        or was paused."""
        with _translated(f"container {name} cannot be inspected"):
            found = self._brisk.inspect_container(name)
        runs = found["State"]["Status"] == "running"
        return (int(found["State"]["Pid"]), str(found["Id"])) if runs else None

    def output(self, name: str) -> Iterator[output.Frame]:
        """What it has written and writes, until it ends."""
        with _translated(f"the log of container {name} cannot be read"):
            wanted = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1}
            with self._api.get(self._url(name, "logs"), params=wanted, stream=True, timeout=None) as answer:
                answer.raise_for_status()
                yield from output.frames(answer.raw)

    def wait(self, name: str) -> None:
        """Return when it has ended, or is not there."""
        with _translated(f"container {name} cannot be waited for"), contextlib.suppress(docker.errors.NotFound):
            self._api.wait(name, timeout=None)

    def ran_out_of_memory(self, name: str, *, since_ns: int, patience_s: float) -> bool:
        """Whether the kernel has killed in it for want of memory since then, or does so within `patience_s`.

        Those are events, which the engine keeps for a while: the flag of `state` is not set before the end of
        the whole container, and then also if it was one of its processes long ago.
        """
        wanted = {
            "since": _seconds(since_ns),
            "until": _seconds(time.time_ns() + round(patience_s * 1e9)),
            "filters": json.dumps({"container": [name], "event": ["oom"]}),
        }
        url = f"{self._brisk.base_url}/v{self._brisk.api_version}/events"
        # The client's own way to ask for events has no limit: it would wait for ever for an engine that stands still.
        with (
            _translated(f"the events of container {name} cannot be read"),
            self._brisk.get(url, params=wanted, stream=True, timeout=BRISK_LIMIT_S) as answer,
        ):
            answer.raise_for_status()
            return next(answer.iter_content(1), b"") != b""

    def pause(self, name: str) -> None:
        with _translated(f"container {name} cannot be paused"):
            self._brisk.pause(name)

    def unpause(self, name: str) -> None:
        with _translated(f"container {name} cannot be unpaused"):
            self._brisk.unpause(name)

    def kill(self, name: str) -> None:
        """Kill it, paused or not, if it is there and runs."""
        with _translated(f"container {name} cannot be killed"):
            try:
                self._brisk.kill(name)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):
                    raise

    def remove(self, name: str) -> None:
        """Remove it with its volumes, running or not, if it is there; return when it has gone."""
        with _translated(f"container {name} cannot be removed"), contextlib.suppress(docker.errors.NotFound):
            try:
                self._api.remove_container(name, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # somebody else is removing it
                    raise
                self._api.wait(name, condition="removed", timeout=LIMIT_S)

    def labelled(self, label: str, value: str) -> list[str]:
        """The names of all containers with that label, whatever they do."""
        with _translated("the containers cannot be listed"):
            found = self._api.containers(all=True, filters={"label": f"{label}={value}"})
        return [each["Names"][0].removeprefix("/") if each["Names"] else each["Id"] for each in found]

    def lacks_image(self, image: str) -> bool:
        with _translated(f"the image {image} cannot be looked up"):
            try:
                self._api.inspect_image(image)
            except docker.errors.ImageNotFound:
                return True
            return False

    def pull(self, image: str) -> None:
        """Fetch an image, by its tag or else the latest, from where its name says."""
        until_s = time.monotonic() + PULL_LIMIT_S
        with _translated(f"the image {image} cannot be pulled"):
            for step in self._api.pull(image, stream=True, decode=True):
                if "error" in step:
                    raise ContainerError(f"the image {image} cannot be pulled: {step['error']}")
                if time.monotonic() > until_s:
                    raise ContainerError(f"the image {image} cannot be pulled within {PULL_LIMIT_S} s")

    def environment(self, image: str) -> Mapping[str, str]:
        """What a container of that image starts with, if nobody says otherwise."""
        with _translated(f"the image {image} cannot be looked up"):
            pairs = self._api.inspect_image(image)["Config"].get("Env") or []
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it sees this machine's files, as far as one can tell: it answers at a socket file."""
        return str(self._api.base_url) == "http+docker://localhost"

    def lacks_network(self, network: str) -> bool:
        with _translated(f"the network {network} cannot be looked up"):
            try:
                self._api.inspect_network(network)
            except docker.errors.NotFound:
                return True
            return False

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()
        self._brisk.close()

    def __repr__(self) -> str:
        return f"<Engine at {self._api.base_url}>"

    def _url(self, name: str, what: str) -> str:
        return f"{self._api.base_url}/v{self._api.api_version}/containers/{name}/{what}"


def connect(environment: Mapping[str, str]) -> Engine:
    """The engine that Docker's own variables name (DOCKER_HOST, …). Raises `UnansweredError` if none answers, and
    `SettingsError` if none can, since they make no sense."""
    where = environment.get("DOCKER_HOST") or docker.constants.DEFAULT_UNIX_SOCKET.replace("http+", "")
    try:
        options = docker.utils.kwargs_from_env(environment=dict(environment))
        docker.utils.parse_host(where)
    except docker.errors.DockerException as error:
        raise SettingsError(f"DOCKER_HOST={where} names no Docker engine: {error}") from error
    try:
        brisk = docker.APIClient(**options, version="auto", timeout=BRISK_LIMIT_S, max_pool_size=CONNECTIONS)
        api = docker.APIClient(**options, version=brisk.api_version, timeout=LIMIT_S, max_pool_size=CONNECTIONS)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise UnansweredError(
            f"no Docker engine answers at {where} ({error}); start one, or name another with DOCKER_HOST; "
            "--containers process needs none"
        ) from error
    return Engine(api, brisk)


def lacks(image: str) -> str:
    """What to say when the engine has no such image."""
    way_out = "build it with `make image`" if image.startswith("instar/") else f"get it with `docker pull {image}`"
    return f"the Docker engine has no image {image}; {way_out}"


@contextlib.contextmanager
def _translated(what: str) -> Generator[None]:
    try:
        yield
    except docker.errors.APIError as error:
        raise ContainerError(f"{what}: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UnansweredError(f"{what}: {error}") from error


def _seconds(moment_ns: int) -> str:
    return f"{moment_ns // 1_000_000_000}.{moment_ns % 1_000_000_000:09}"
