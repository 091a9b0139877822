"""The zygote, as the proxy sees it: a process that forks workers on request and buries them.

Imports nothing heavy, for it is started before Flask and gunicorn are imported: importing torch, in the zygote,
takes longer than everything else of a container's start together.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from instar.action.channel import Channel
from instar.action.frames import (
    CONTROL_BYTES,
    Buried,
    Bury,
    Control,
    Fork,
    Forked,
    Propose,
    Renew,
    Supersede,
    decode_control,
    encode_control,
)
from instar.action.privileges import Isolation
from instar.errors import ProcessError, ProtocolError
from instar.executor import meter, packets
from instar.proxy.slots import Slots

TOKEN = "INSTAR_TOKEN"
SECRETS = (TOKEN,)  # variables that the proxy alone may know
# How long torch's threads spin after a parallel part, waiting for the next. The default, milliseconds, takes a
# processor from the threads that bring weights each time that a model waits for some, and from other containers.
# Two processors, two threads: nine tenths of MobileNet's disturbed calls within 32 ms for 160, of ResNet-50's within
# 137 for 490; a load of ResNet-50 at 1,500 MB/s in 0.26 to 0.65 of the time. The price, on an idle machine: nothing
# for ResNet-50, a tenth for DenseNet-121, and up to half for MobileNet (13.3 ms for 8.6 to 11.8).
SPINNING = {"GOMP_SPINCOUNT": "1000"}
SPINNING_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # who sets one of them knows better


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that can be sent frames until it ends."""

    slots: Slots


@dataclass(frozen=True, slots=True)
class Settings:
    """What the zygote is told at its start."""

    arena_mib: int  # most memory that a worker shares with the executor
    threads: int  # torch's, in the worker and in the executor
    memory_mib: int | None  # what the container may have, if its control group does not say it
    fetch_deadline_s: float  # how long weights may take
    isolation: Isolation  # what a worker is kept from


class Zygote:
    """Owns the process and the control socket; used by one thread at a time. `meter` tells what loading has cost."""

    def __init__(self, settings: Settings) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        page = meter.create()
        self.meter = meter.Meter(page)
        with theirs:
            # -P: the directory this was started in is no place to import from.
            command = [sys.executable, "-P", "-m", "instar.action.zygote"]
            command += ["--control", str(theirs.fileno()), "--arena-mib", str(settings.arena_mib)]
            command += ["--meter", str(page), "--threads", str(settings.threads)]
            command += ["--fetch-deadline-s", str(settings.fetch_deadline_s)]
            command += ["--isolation", str(settings.isolation)]
            command += ["--spare"] if os.environ.get(TOKEN) else []  # else nobody can have it become another function
            command += [] if settings.memory_mib is None else ["--memory-mib", str(settings.memory_mib)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env=environment(os.environ),
                pass_fds=[theirs.fileno(), page],
            )
        os.close(page)
        self.pidfd = os.pidfd_open(self._process.pid)  # readable when it has ended

    def wait_until_up(self) -> None:
        """Return when torch is imported. There must be no worker."""
        self._ask(Bury(), [])  # with nobody to bury it is merely answered

    def fork(self, fork: Fork, *, slots: int, answer_bytes: int) -> Worker:
        """A new worker for up to `slots` runs at once, whose frames may hold `answer_bytes`.

        There must be none. Waits until torch is imported.
        """
        pairs = [socket.socketpair() for _ in range(slots)]
        frame, pidfd = self._ask(fork, [theirs.fileno() for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        if not isinstance(frame, Forked) or pidfd is None:
            raise ProtocolError(f"the zygote answered a Fork with {type(frame).__name__}")
        channels = [Channel(ours, limit_bytes=answer_bytes, peer_pidfd=os.dup(pidfd)) for ours, _ in pairs]
        os.close(pidfd)
        return Worker(Slots(channels))

    def bury(self, worker: Worker) -> int:
        """End the worker and whatever it started. Its exit code, or minus the signal it had died of."""
        return self._end(worker, Bury())

    def supersede(self, worker: Worker) -> int:
        """The same for another function that is waited for: the kernel may still be clearing this one away."""
        return self._end(worker, Supersede())

    def renew(self, worker: Worker) -> int:
        """As `bury`, and have another executor."""
        return self._end(worker, Renew())

    def propose(self, theirs: socket.socket) -> None:
        """Hand the executor the other end of a socket, on which it will find a proposal."""
        try:
            socket.send_fds(self._control, [encode_control(Propose())], [theirs.fileno()])
        except OSError as error:
            raise _gone() from error

    def _end(self, worker: Worker, frame: Bury | Supersede | Renew) -> int:
        answer, _ = self._ask(frame, [])
        if not isinstance(answer, Buried):
            raise ProtocolError(f"the zygote answered a {type(frame).__name__} with {type(answer).__name__}")
        worker.slots.close()
        return answer.status

    def _ask(self, frame: Control, descriptors: list[int]) -> tuple[Control, int | None]:
        try:
            socket.send_fds(self._control, [encode_control(frame)], descriptors)
            data, received = packets.receive(self._control, CONTROL_BYTES)
        except OSError as error:
            raise _gone() from error
        if not data:
            raise _gone()
        return decode_control(data), received


def _gone() -> ProcessError:
    return ProcessError("the zygote has ended, and the container with it")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The zygote's variables, and so the worker's and the executor's, from the container's."""
    spinning = {} if any(environ.get(name) for name in SPINNING_VARIABLES) else SPINNING
    return {name: value for name, value in environ.items() if name not in SECRETS} | spinning
