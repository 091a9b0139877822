"""A ZooKeeper for tests: the real server, of Debian's `libzookeeper-java`, alone and with its data in a folder.

It answers on the loopback interface, a second or a minute after it was started, as busy as the machine is, and ends
with whoever started it. Each test has a path of its own on it. It can be killed and started again: its disk is kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port
from kazoo.client import KazooClient

JARS = Path("/usr/share/java")
CLASSPATH = (JARS / "zookeeper.jar", JARS / "slf4j-nop.jar")  # the former names what else it needs
SERVER = "org.apache.zookeeper.server.ZooKeeperServerMain"
HOST = "127.0.0.1"
UP_S = 90.0  # most time that a Java machine takes to answer, on two processors that others use, too
TRIES = 5  # to start it: another program may have its port by then
PR_SET_PDEATHSIG = 1


class NoZooKeeper(Exception):
    """There is no ZooKeeper on this machine; says what is missing."""


class Ended(NoZooKeeper):
    """It has ended before it answered. It does not say why; somebody else may have its port."""


class ZooKeeper:
    """A server that runs. `address` is `host:port`."""

    def __init__(self, folder: Path) -> None:
        _look_for_java()
        self._folder = folder
        self._log = folder / "zookeeper.log"
        for left in reversed(range(TRIES)):
            self._port = free_port(HOST)
            try:
                self._process = self._start()
                break
            except Ended:
                if not left:
                    raise
        self.address = f"{HOST}:{self._port}"

    def place(self) -> str:
        """A path of its own for a test: `host:port/path`."""
        path = f"/t{secrets.token_hex(4)}"
        with self.client() as client:
            client.create(path)
        return self.address + path

    @contextlib.contextmanager
    def client(self, hosts: str | None = None) -> Iterator[KazooClient]:
        """Somebody who looks at what is there, and writes it as a stock invoker does."""
        client = KazooClient(hosts or self.address, timeout=60)
        try:
            client.start(timeout=UP_S)
            yield client
        finally:
            client.stop()
            client.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again on the same port, after `kill`; with all that it had."""
        for left in reversed(range(TRIES)):
            try:
                self._process = self._start()
                return
            except Ended:
                if not left:
                    raise
                time.sleep(1.0)

    def pause(self) -> None:
        """Have it do nothing, with its connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # the last of its threads has stopped, too

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it; it answers when this returns. Raises `NoZooKeeper` with its last words."""
        settings = {
            "dataDir": self._folder / "data",
            "clientPortAddress": HOST,
            "clientPort": self._port,
            "tickTime": 500,
            "maxSessionTimeout": 120_000,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "srvr",
        }
        file = self._folder / "zoo.cfg"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        machine = ["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # small, and soon there
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["java", *machine, "-cp", ":".join(map(str, CLASSPATH)), SERVER, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
                preexec_fn=_end_with_parent,
            )
        try:
            self._wait_until_up(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + UP_S
        while not _is_serving(self._port):
            said = self._log.read_text(errors="replace")[-2000:]
            if (status := process.poll()) is not None:
                raise Ended(f"ZooKeeper has ended with status {status}: {said}")
            if time.monotonic() > deadline_s:
                raise NoZooKeeper(f"ZooKeeper does not answer at {HOST}:{self._port} within {UP_S:g} s: {said}")
            time.sleep(0.05)
        if process.poll() is not None:
            raise Ended(f"somebody else's ZooKeeper has answered at {HOST}:{self._port}")


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """One for all tests, which leave it as it was."""
    yield from _running_or_skipped(tmp_path_factory.mktemp("zookeeper"))


@pytest.fixture
def place(zookeeper: ZooKeeper) -> str:
    """What a test gives for ZOOKEEPER_HOSTS: nobody else uses this path."""
    return zookeeper.place()


def _running_or_skipped(folder: Path) -> Iterator[ZooKeeper]:
    try:
        with contextlib.closing(ZooKeeper(folder)) as found:
            yield found
    except NoZooKeeper as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def _look_for_java() -> None:
    if missing := [str(jar) for jar in CLASSPATH if not jar.exists()]:
        raise NoZooKeeper(f"{' and '.join(missing)} is not there; Debian has it in libzookeeper-java")
    if shutil.which("java") is None:
        raise NoZooKeeper("there is no java; Debian has it in default-jre-headless")


def _is_serving(port: int) -> bool:
    """Whether it takes requests; it listens some time before it does."""
    try:
        with socket.create_connection((HOST, port), timeout=5.0) as connection:
            connection.sendall(b"srvr")
            return connection.recv(4096).startswith(b"Zookeeper version")
    except OSError:
        return False


def _end_with_parent() -> None:
    """Have the server end when whoever started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
