"""What `bench_invoker` runs against: a broker, a database server and `instar invoker`, each a process of its own.

The broker is the tests' own (`tests/controller/brokers.py`), with what stands before it in a process of its own, so
that its work is not on the clock of who measures.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CONTROLLER_TESTS = Path(__file__).parents[1] / "controller"
NOOP = Path(__file__).with_name("noop_container")
START_S = 60
SUBJECTS, ENTITIES, ACTIVATIONS = "bench_subjects", "bench_whisks", "bench_activations"
MEMORY_MB = 128  # of each action
TICKS = os.sysconf("SC_CLK_TCK")

sys.path.append(str(CONTROLLER_TESTS))  # the rigs of its tests import one another by their bare names

import brokers  # noqa: E402
import databases  # noqa: E402
import openwhisk_views  # noqa: E402
from databases import DatabaseServer  # noqa: E402

from tests.bench.watched_relay import WatchedRelay  # noqa: E402


def serve_broker() -> None:
    """In a process of its own: a broker until standard input ends. It prints where it is; and for each line that it
    reads, as JSON, when activations have passed since: from broker to invoker, and the answer back."""
    with (
        tempfile.TemporaryDirectory() as folder,
        brokers.running(Path(folder), relay=WatchedRelay) as broker,
    ):
        print(broker.hosts, flush=True)
        relay = broker.relay
        assert isinstance(relay, WatchedRelay)
        for _ in sys.stdin:
            seen = {id: (passage.left_ns, passage.came_ns) for id, passage in relay.taken().items()}
            print(json.dumps(seen), flush=True)


class RunningBroker:
    """A broker in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None and process.stdin is not None
        self._asked, self._told = process.stdin, process.stdout
        self.hosts = self._told.readline().strip()
        if not self.hosts:
            raise ValueError("the broker does not start")

    def passages(self) -> dict[str, tuple[int, int]]:
        """Since the last time: when each activation left the broker for its invoker, and when its answer came there;
        nanoseconds of the monotonic clock."""
        self._asked.write("\n")
        self._asked.flush()
        return {id: (left_ns, came_ns) for id, (left_ns, came_ns) in json.loads(self._told.readline()).items()}


@contextlib.contextmanager
def running_broker() -> Iterator[RunningBroker]:
    command = [sys.executable, "-m", "tests.bench.invoker_rig"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield RunningBroker(process)
        finally:
            process.stdin.close()


@contextlib.contextmanager
def running_database(folder: Path) -> Iterator[DatabaseServer]:
    """A database server with OpenWhisk's databases."""
    with databases.serving(folder) as server:
        server.create(SUBJECTS, openwhisk_views.SUBJECTS)
        server.create(ENTITIES, openwhisk_views.ENTITIES)
        server.create(ACTIVATIONS, openwhisk_views.ACTIVATIONS)
        yield server


def put_actions(server: DatabaseServer, count: int) -> dict[str, str]:
    """Write so many no-op actions; their revisions by name."""
    documents = [
        {
            "_id": f"guest/noop{number}",
            "entityType": "action",
            "namespace": "guest",
            "name": f"noop{number}",
            "version": "0.0.1",
            "publish": False,
            "exec": {"kind": "python:3", "code": "def main(args):\n    return {}\n", "binary": False},
            "parameters": [],
            "limits": {"timeout": 60_000, "memory": MEMORY_MB, "logs": 10, "concurrency": 1},
            "annotations": [{"key": "provide-api-key", "value": False}],
            "updated": 0,
        }
        for number in range(count)
    ]
    written = server.ask("POST", f"{ENTITIES}/_bulk_docs", {"docs": documents})
    return {row["id"].partition("/")[2]: row["rev"] for row in written}


class RunningInvoker:
    """`instar invoker --id N` with containers that do nothing; room for so many."""

    def __init__(self, id: int, hosts: str, server: DatabaseServer, state: Path, *, containers: int) -> None:
        self.id = id
        given = {
            "PYTHONPATH": str(NOOP),
            "KAFKA_HOSTS": hosts,
            "CONFIG_whisk_couchdb_host": server.host,
            "CONFIG_whisk_couchdb_port": str(server.port),
            "CONFIG_whisk_couchdb_username": databases.USERNAME,
            "CONFIG_whisk_couchdb_password": databases.PASSWORD,
            "CONFIG_whisk_couchdb_databases_WhiskAuth": SUBJECTS,
            "CONFIG_whisk_couchdb_databases_WhiskEntity": ENTITIES,
            "CONFIG_whisk_couchdb_databases_WhiskActivation": ACTIVATIONS,
            "CONFIG_whisk_containerPool_userMemory": f"{containers * MEMORY_MB}m",
            "INSTAR_CONTAINERS": "process",
            "INSTAR_PREWARM": "none",
            "INSTAR_STORE": "none",
            "INSTAR_PLANS_DATABASE": "none",
            "INSTAR_LOG_LEVEL": "warning",
        }
        command = [str(Path(sys.executable).with_name("instar")), "invoker", "--json", "--port", "0", "--id", str(id)]
        self.process = subprocess.Popen(
            [*command, "--state", str(state)], stdout=subprocess.PIPE, text=True, env={**os.environ, **given}
        )
        assert self.process.stdout is not None
        self.url = ""  # of its operations server
        self._is_working = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._is_working.wait(START_S):
            raise ValueError("the invoker does not start")

    @property
    def cpu_s(self) -> float:
        """Processor time of the invoker's own process, its containers not counted."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(START_S) != 0:
            raise ValueError(f"the invoker has ended with {self.process.returncode}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match json.loads(line):
                case {"event": "answering", "url": url}:
                    self.url = str(url)
                case {"event": "working"}:
                    self._is_working.set()


def records(server: DatabaseServer) -> Mapping[str, Any]:
    """How many records there are of each activation."""
    rows = server.ask("GET", f"{ACTIVATIONS}/_all_docs")["rows"]
    return {row["id"].rpartition("/")[2]: row for row in rows if not row["id"].startswith("_design/")}


if __name__ == "__main__":
    serve_broker()
