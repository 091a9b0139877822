"""A Docker Engine for tests: the one that runs, or one of our own for as long as the tests take.

The rule: an engine of ours has its own socket, bridge, files and containerd namespace, so that it can run beside
another one, and it ends with the process that started it. Its images stay in `build/engine`, so that the next run
finds the layers; so there is one such engine a checkout at a time.
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
from pathlib import Path
from typing import Any

from deploy.image import engine
from deploy.image.engine import Engine
from deploy.image.errors import NoEngine
from deploy.image.names import ROOT

DATA = ROOT / "build" / "engine"
BRIDGE = "instar0"
ADDRESS = "172.30.231.1/24"  # of the bridge; its containers have the others
# Locally administered. A bridge without an address of its own has that of its lowest port: it changes with each
# container that comes or goes, and containers that know the old one are unheard until they ask again, for 5 to 13 s.
BRIDGE_MAC = "02:49:4e:53:54:52"
UP_S = 60  # most time that an engine takes to answer
DOWN_S = 30  # most time that it takes to end its containers
STORAGE = ("overlay2", "vfs")
PR_SET_PDEATHSIG = 1


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
    for tool in ("dockerd", "ip"):
        if shutil.which(tool) is None:
            raise NoEngine(f"{reason}; starting one needs {tool}, which is not installed") from reason
    with (
        _alone(),
        tempfile.TemporaryDirectory(prefix="instar-engine-", ignore_cleanup_errors=True) as run,
        _bridge(),
        contextlib.ExitStack() as stack,
    ):
        daemon = _started(Path(run))
        stack.callback(_stop, daemon)
        found = engine.connect({"DOCKER_HOST": f"unix://{run}/docker.sock"})
        stack.callback(found.client.close)
        yield found


def _started(run: Path) -> subprocess.Popen[bytes]:
    """A daemon that answers; on overlay2 in the checkout, on overlay2 in a temporary folder, or without overlays."""
    for storage in STORAGE:
        for data in (DATA, run / "data"):
            daemon = _start(run, data, storage)
            if daemon is not None:
                return daemon
    raise NoEngine(f"dockerd does not start: {_last_words(run / 'log')}")


def _start(run: Path, data: Path, storage: str) -> subprocess.Popen[bytes] | None:
    """A daemon that has said that it is ready, or None if it ended instead."""
    command = ["dockerd", "--host", f"unix://{run}/docker.sock", "--pidfile", f"{run}/pid"]
    command += ["--data-root", str(data), "--exec-root", f"{run}/exec", "--storage-driver", storage]
    # Its containers need to reach this host alone; another engine's rules are not ours to change.
    command += ["--bridge", BRIDGE, "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"]
    command += ["--containerd-namespace", "instar", "--containerd-plugins-namespace", "instar-plugins"]
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ready, (run / "log").open("wb") as log:
        ready.bind(f"{run}/{storage}-{data.name}.notify")
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": ready.getsockname()},
            start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            preexec_fn=_end_with_parent,
        )
        if _is_ready(daemon, ready):
            return daemon
    _stop(daemon)
    return None


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


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """End the daemon, which ends its containers."""
    daemon.terminate()
    try:
        daemon.wait(timeout=DOWN_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold what only one engine may use. Raises `NoEngine` if another run holds it."""
    DATA.mkdir(parents=True, exist_ok=True)
    with (DATA.parent / "engine.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NoEngine(f"the engine in {DATA} is in use by another run of the tests; wait for its end") from error
        yield


@contextlib.contextmanager
def _bridge() -> Iterator[None]:
    if Path("/sys/class/net", BRIDGE).exists():
        _ip("link", "delete", BRIDGE)  # of a run that was killed
    _ip("link", "add", "name", BRIDGE, "address", BRIDGE_MAC, "type", "bridge")
    try:
        _ip("address", "add", ADDRESS, "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield
    finally:
        _ip("link", "delete", BRIDGE)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoEngine(f"cannot make a network for an engine: ip {' '.join(arguments)}: {done.stderr.strip()}")


def _end_with_parent() -> None:
    """Have the daemon stop when whoever started it is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip().splitlines()[-1] if log.exists() else "it said nothing"
