"""A whole cluster for a test: a broker, databases, a controller, and the programs that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from container_processes import below
from databases import PASSWORD, USERNAME, Databases
from programs import RunningProgram
from whisk_controllers import Controller, action

ECHO = "def main(args):\n    print('echo')\n    return args\n"
MEETING = """
import socket
def main(args):
    with socket.create_connection((args.get("host", "127.0.0.1"), args["port"])) as meeting:
        meeting.recv(1)
    return {"met": True}
"""  # runs until the test that it calls hangs up


class Cluster:
    """Starts programs on one broker and one set of databases; `close` ends what is left of them."""

    def __init__(self, hosts: str, databases: Databases, folder: Path, *, prefix: str) -> None:
        self.databases = databases
        self.folder = folder
        self.controller = Controller(hosts, prefix=prefix)
        self._programs: list[RunningProgram] = []
        self._environment = {
            "KAFKA_HOSTS": hosts,
            "CONFIG_whisk_kafka_topics_prefix": prefix,
            "CONFIG_whisk_couchdb_host": databases.server.host,
            "CONFIG_whisk_couchdb_port": str(databases.server.port),
            "CONFIG_whisk_couchdb_username": USERNAME,
            "CONFIG_whisk_couchdb_password": PASSWORD,
            "CONFIG_whisk_couchdb_databases_WhiskAuth": databases.subjects,
            "CONFIG_whisk_couchdb_databases_WhiskEntity": databases.entities,
            "CONFIG_whisk_couchdb_databases_WhiskActivation": databases.activations,
            "CONFIG_whisk_containerPool_userMemory": "1024m",
            "INSTAR_CONTAINERS": "process",
            "INSTAR_PREWARM": "none",
            "INSTAR_STORE": "none",
            "INSTAR_PLANS_DATABASE": "none",
        }

    def begin_invoker(self, *options: str, id: int = 0, **changed: str) -> RunningProgram:
        """Start `instar invoker --id N`, whatever comes of it; always on the same state directory."""
        state = self.state(f"invoker{id}")
        return self._begin("invoker", "--id", str(id), "--state", str(state), *options, environment=changed)

    def invoker(self, *options: str, id: int = 0, **changed: str) -> RunningProgram:
        """Start one, and wait until it works."""
        program = self.begin_invoker(*options, id=id, **changed)
        program.event("working")
        return program

    def begin_node(self, name: str, *options: str, **changed: str) -> RunningProgram:
        """Start `instar invoker --dispatched`, whatever comes of it."""
        state = ("--state", str(self.state(name)))
        return self._begin("invoker", "--dispatched", "--name", name, *state, *options, environment=changed)

    def node(self, name: str, *options: str, **changed: str) -> RunningProgram:
        """Start one, and wait until it works."""
        program = self.begin_node(name, *options, **changed)
        program.event("working")
        return program

    def dispatcher(self, *options: str, id: int = 0, **changed: str) -> RunningProgram:
        """Start `instar dispatcher`, and wait until it works."""
        state = ("--state", str(self.state(f"dispatcher{id}")))
        program = self._begin("dispatcher", "--id", str(id), *state, *options, environment=changed)
        program.event("working")
        return program

    def begin_named(self, command: str, name: str, *options: str, zookeeper: str, **changed: str) -> RunningProgram:
        """Start a program that has its number from ZooKeeper, whatever comes of it."""
        told = ("--uniqueName", name, "--state", str(self.state(name)))
        return self._begin(command, *told, *options, environment={"ZOOKEEPER_HOSTS": zookeeper, **changed})

    def state(self, name: str) -> Path:
        return self.folder / name

    def put(self, name: str, code: str = ECHO, *, annotations: Mapping[str, Any] | None = None) -> str:
        """Write an action; its revision."""
        return self.databases.server.put(self.databases.entities, action(name, code, annotations or {}))

    def records(self) -> dict[str, Any]:
        """The activation records that are stored, by activation id."""
        stored = self.databases.server.documents(self.databases.activations)
        return {document["activationId"]: document for document in stored.values()}

    def containers(self, name: str = "invoker0") -> list[int]:
        """The processes of a program's containers."""
        return below(self.state(name) / "containers")

    def kill_containers(self, name: str = "invoker0") -> None:
        """Kill all processes of a program's containers."""
        for pid in self.containers(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        for program in self._programs:
            program.end(signal.SIGKILL)  # one that has ended by itself leaves its streams open until it is waited for
            print("\n".join([f"--- log of process {program.process.pid}", *program.log]))  # shown if the test failed
        self.controller.close()

    def _begin(self, command: str, *options: str, environment: Mapping[str, str]) -> RunningProgram:
        program = RunningProgram(command, *options, environment={**self._environment, **environment})
        self._programs.append(program)
        return program
