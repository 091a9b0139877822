"""A Docker Engine for tests: the one that runs, or one of our own for as long as the tests take.

The rule: an engine of ours has its own socket, bridge, files and containerd namespace, so that it can run beside
another one, and it ends with the process that started it. The images of the one that tests share stay in
`build/engine`, so that the next run finds the layers; so there is one such engine a checkout at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.image import engine
from deploy.image.engine import Engine
from deploy.image.errors import NoEngine
from deploy.image.names import ROOT

DATA = ROOT / "build" / "engine"
UP_S = 60  # most time that an engine takes to answer
DOWN_S = 60  # most time that it takes to end its containers
STORAGE = ("overlay2", "vfs")
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge of an engine's own, and its address there; its containers have the others.

    `mac` is locally administered. A bridge without one has that of its lowest port: it changes with each container
    that comes or goes, and containers that know the old one are unheard until they ask again, for 5 to 13 s.
    """

    bridge: str
    address: str
    mac: str

    @property
    def gateway(self) -> str:
        """The address under which its containers reach this machine."""
        return self.address.partition("/")[0]


SHARED = Network("instar0", "172.30.231.1/24", "02:49:4e:53:54:52")


@contextlib.contextmanager
def available() -> Iterator[Engine]:
    """The engine at `DOCKER_HOST` or the default socket, or else one of our own. Raises `NoEngine`."""
    if os.geteuid() != 0:
        raise NoEngine("the image's tests look at processes of containers, which only root can")
    try:
        found = engine.connect(os.environ)
    except NoEngine as error:
        if "DOCKER_HOST" in os.environ:
            raise
        with _own(error) as started:
            yield started
    else:
        with contextlib.closing(found.client):
            yield found


@contextlib.contextmanager
def _own(reason: NoEngine) -> Iterator[Engine]:
    with contextlib.ExitStack() as stack:
        try:
            daemon = stack.enter_context(running(SHARED, data=DATA))
        except NoEngine as error:
            raise NoEngine(f"{reason}; {error}") from reason
        found = daemon.connect()
        stack.callback(found.client.close)
        yield found


@contextlib.contextmanager
def running(network: Network, *, data: Path | None = None) -> Iterator[Daemon]:
    """An engine of our own on that network, which nobody else may use, with its files in `data` if it can have them
    there, or else in a temporary folder. Raises `NoEngine`."""
    for tool in ("dockerd", "ip"):
        if shutil.which(tool) is None:
            raise NoEngine(f"starting an engine needs {tool}, which is not installed")
    with (
        _alone(network),
        tempfile.TemporaryDirectory(prefix="instar-engine-", ignore_cleanup_errors=True) as run,
        _bridge(network),
    ):
        daemon = _started(Path(run), network, data)
        try:
            yield daemon
        finally:
            daemon.close()


def _started(run: Path, network: Network, data: Path | None) -> Daemon:
    """A daemon that answers; on overlay2 in `data`, on overlay2 in a temporary folder, or without overlays."""
    for storage in STORAGE:
        for folder in [run / "data"] if data is None else [data, run / "data"]:
            daemon = Daemon(run, network, folder, storage)
            if daemon.start():
                return daemon
    raise NoEngine(f"dockerd does not start: {_last_words(run / 'log')}")


class Daemon:
    """An engine that can be ended, killed, stopped in its tracks, and started again on the same files and socket."""

    def __init__(self, run: Path, network: Network, data: Path, storage: str) -> None:
        self.network = network
        self.host = f"unix://{run}/docker.sock"  # as in DOCKER_HOST
        self._run = run
        self._data = data
        self._ready = run / f"{storage}-{data.name}.notify"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_orphans = False
        self._command = ["dockerd", "--host", self.host, "--pidfile", f"{run}/pid"]
        self._command += ["--data-root", str(data), "--exec-root", f"{run}/exec", "--storage-driver", storage]
        # Its containers need to reach this host alone; another engine's rules are not ours to change.
        self._command += ["--bridge", network.bridge, "--iptables=false", "--ip6tables=false"]
        self._command += ["--ip-masq=false", "--ip-forward=false"]
        self._command += ["--containerd-namespace", network.bridge]
        self._command += ["--containerd-plugins-namespace", f"{network.bridge}-plugins"]

    def connect(self) -> Engine:
        """Whoever has it closes the client."""
        return engine.connect({"DOCKER_HOST": self.host})

    def start(self) -> bool:
        """Whether it has said that it is ready; if not, it has ended."""
        self._ready.unlink(missing_ok=True)
        # Of a containerd that was killed with it: as long as nobody has reaped that, a new engine would wait for it.
        (self._run / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ready, (self._run / "log").open("ab") as log:
            ready.bind(str(self._ready))
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self._ready)},
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
                preexec_fn=_end_with_parent,
            )
            if _is_ready(self._process, ready):
                self._has_orphans = False
                return True
        self.close()
        return False

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None, "it was started"
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; one that was stopped has not."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it at once; its containers live on, and the next start ends them."""
        self._has_orphans = True
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Return when it has ended."""
        assert self._process is not None, "it was started"
        self._process.wait(timeout=DOWN_S)

    def close(self) -> None:
        """End it, and its containers with it."""
        if self._has_orphans:
            self._has_orphans = False  # tried once
            self.start()
        if self._process is not None:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)  # if a test has left it stopped
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # One that was killed leaves its files mounted upon themselves, once for each time.
        while subprocess.run(["umount", str(self._data)], capture_output=True, check=False).returncode == 0:
            pass


def _is_ready(daemon: subprocess.Popen[bytes], ready: socket.socket) -> bool:
    """Wait until the daemon says so, as it would tell systemd."""
    ended = os.pidfd_open(daemon.pid)
    try:
        events: list[Any] = [ready, ended]
        while select.select(events, [], [], UP_S)[0] == [ready]:
            if b"READY=1" in ready.recv(4096).split(b"\n"):
                return True
        return False  # it ended, or says nothing
    finally:
        os.close(ended)


@contextlib.contextmanager
def _alone(network: Network) -> Iterator[None]:
    """Hold what only one engine may use. Raises `NoEngine` if another run holds it."""
    DATA.parent.mkdir(parents=True, exist_ok=True)
    with (DATA.parent / f"{network.bridge}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NoEngine(
                f"the engine on {network.bridge} is in use by another run of the tests; wait for its end"
            ) from error
        yield


@contextlib.contextmanager
def _bridge(network: Network) -> Iterator[None]:
    name = network.bridge
    if Path("/sys/class/net", name).exists():
        _ip("link", "delete", name)  # of a run that was killed
    _ip("link", "add", "name", name, "address", network.mac, "type", "bridge")
    try:
        _ip("address", "add", network.address, "dev", name)
        _ip("link", "set", name, "up")
        yield
    finally:
        _ip("link", "delete", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoEngine(f"cannot make a network for an engine: ip {' '.join(arguments)}: {done.stderr.strip()}")


def _end_with_parent() -> None:
    """Have the daemon stop when whoever started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip().splitlines()[-1] if log.exists() else "it said nothing"
