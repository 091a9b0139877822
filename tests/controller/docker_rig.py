"""Makers of Docker containers for tests, each with a name of its own on the engine that all tests share."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from instar_controller.clients.docker import engine
from instar_controller.clients.docker.arguments import OWNER, Plan
from instar_controller.clients.docker.containers import DockerContainers
from instar_controller.policies.snapshot import ContainerId

KIND = "python:3"
POOL_MB = 512  # of which each has half, and so half of the processors where others want them too


class DockerRig:
    """Makes makers; `close` removes all that they made, and asserts that it is gone."""

    def __init__(self, host: str, client: docker.DockerClient, image: str) -> None:
        self.host = host  # as in DOCKER_HOST
        self.client = client
        self.image = image
        self._owners: set[str] = set()
        self._makers: list[DockerContainers] = []

    @property
    def gateway(self) -> str:
        """The address under which containers reach this machine."""
        network = self.client.networks.get("bridge").attrs["IPAM"]["Config"][0]
        # An engine that was restarted no longer says it; then it is the first address, as everywhere.
        return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))

    def plan(self, *, owner: str | None = None, network: str = "bridge", image: str | None = None) -> Plan:
        owner = owner or uuid.uuid4().hex[:16]
        self._owners.add(owner)
        return Plan(owner, network, POOL_MB, {"__OW_API_HOST": "http://api.example"}, {KIND: image or self.image})

    def make(self, plan: Plan | None = None, *, host: str | None = None, **options: Any) -> DockerContainers:
        made = DockerContainers(engine.connect({"DOCKER_HOST": host or self.host}), plan or self.plan(), **options)
        self._makers.append(made)
        return made

    def of(self, owner: str) -> list[Container]:
        """The containers of one server, whatever they do."""
        labelled = {"label": f"{OWNER}={owner}"}
        return list(self.client.containers.list(all=True, filters=labelled, ignore_removed=True))

    def find(self, id: ContainerId) -> Container:
        """The only container of that id that these makers have made."""
        (found,) = [each for owner in self._owners for each in self.of(owner) if f"_{id}_" in each.name]
        return found

    def kill(self, id: ContainerId) -> None:
        self.find(id).kill()

    def attributes(self, id: ContainerId) -> Mapping[str, Any]:
        """What the engine says about it."""
        attributes: Mapping[str, Any] = self.client.api.inspect_container(self.find(id).id)
        return attributes

    def close(self) -> None:
        for made in self._makers:
            made.close()
        left = [each for owner in self._owners for each in self.of(owner)]
        for each in left:
            each.remove(force=True)
        assert left == []


class Relay:
    """A way to the engine that can be cut, which is how the engine's own end looks from here."""

    def __init__(self, host: str, socket_file: Path) -> None:
        self.host = f"unix://{socket_file}"
        self._engine = host.removeprefix("unix://")
        self._lock = threading.Lock()  # for what follows
        self._ends: list[socket.socket] = []
        self._is_cut = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_file))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, and each new one at once: a socket that nobody owns would have the client lose its
        own, unclosed."""
        with self._lock:
            self._is_cut = True
            for end in self._ends:
                _close(end)

    def mend(self) -> None:
        """Let new connections through again."""
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        _close(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                with self._lock:  # whoever cuts finds it, or it finds that all is cut
                    self._ends += [near, far]
                    if self._is_cut:
                        _close(near)
                        _close(far)
                        continue
                    far.connect(self._engine)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
