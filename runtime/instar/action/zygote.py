"""The zygote: imports torch once, then forks what needs it.

The rule: it computes nothing and starts no thread, or its children would hang: a parallel operation leaves
thread pools behind that a fork does not copy. It runs no user code; it forks the executor at its start, again
if that dies, and a worker for the function, if it can before somebody waits for it, and it ends what they leave
behind.

When the proxy's end of the control socket closes, however that came, the zygote ends everything below it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from instar.action import belongings, limits, privileges, processes, remains
from instar.action.frames import (
    CONTROL_BYTES,
    SLOTS,
    Buried,
    Bury,
    Fork,
    Forked,
    Propose,
    Renew,
    Supersede,
    decode_control,
    encode_control,
)
from instar.action.limits import Allowance
from instar.action.privileges import Apart, Isolation, Role
from instar.action.remains import EndOthers, Reaper
from instar.errors import InstarError, ProcessError, ProtocolError
from instar.executor import packets
from instar.executor.protocol import Consider, Open, Order, encode_order

NICE = 10  # of an isolated worker: whatever it starts, the proxy gets its turn
IDLE_S = 1.0  # after which a worker's process is forked for the next function
FIRST_DESCRIPTOR = 100  # of a worker's connections
EXECUTOR_LIVES = 4  # one that dies this often dies of what it is asked to do
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m instar.action.zygote")
    parser.add_argument("--control", type=int, required=True, help="the socket to the proxy")
    parser.add_argument("--meter", type=int, required=True, help="the page on which the executor counts")
    parser.add_argument("--arena-mib", type=int, required=True, help="most memory shared with a worker")
    parser.add_argument("--threads", type=int, required=True, help="torch's threads in worker and executor")
    parser.add_argument("--memory-mib", type=int, help="what the container may have (default: its control group's)")
    parser.add_argument("--fetch-deadline-s", type=float, required=True, help="how long weights may take")
    parser.add_argument("--spare", action="store_true", help="have a process ready for the next function")
    parser.add_argument("--isolation", type=privileges.parse, required=True, help="what a worker is kept from")
    options = parser.parse_args()
    privileges.become(Role.ZYGOTE, options.isolation)
    control = socket.socket(fileno=options.control)
    processes.adopt_orphans()
    processes.name_self("instar-zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the proxy's to answer

    import torch

    from instar.action import worker  # noqa: F401  # what the children need is imported once, here
    from instar.executor import client, server  # noqa: F401

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # a collection in a child would otherwise touch, and so copy, every page of this heap
    Zygote(
        control,
        meter=options.meter,
        fetch_deadline_s=options.fetch_deadline_s,
        threads=options.threads,
        idle_s=IDLE_S if options.spare else None,
        arena_bytes=options.arena_mib * MIB,
        isolation=options.isolation,
        allowance=limits.allowance(options.memory_mib),
    ).run()


@dataclass(frozen=True, slots=True)
class Executor:
    pid: int
    pidfd: int
    control: socket.socket

    def close(self) -> None:
        os.close(self.pidfd)
        self.control.close()


@dataclass(frozen=True, slots=True)
class Spare:
    """A process that waits to be told for which function it is the worker: a `Fork`, its channels and its door."""

    pid: int
    told: socket.socket


@dataclass(frozen=True, slots=True)
class Worker:
    pid: int
    door: socket.socket  # where it is handed its sessions with the executor
    fork: Fork


class Zygote:
    """Owns the container's children: one executor, no or one worker, and what waits for the next function."""

    def __init__(
        self,
        control: socket.socket,
        *,
        meter: int,
        fetch_deadline_s: float,
        threads: int,
        idle_s: float | None,
        arena_bytes: int,
        isolation: Isolation,
        allowance: Allowance,
    ) -> None:
        self._control = control
        self._meter = meter  # the executor's
        self._fetch_deadline_s = fetch_deadline_s
        self._threads = threads
        self._idle_s = idle_s  # after which there is a spare process; never, if None
        self._arena_bytes = limits.arena_bytes(allowance, asked_bytes=arena_bytes)
        self._isolation = isolation
        self._allowance = allowance
        self._lives = EXECUTOR_LIVES
        self._ended: dict[int, int] = {}  # wait statuses of children that were reaped before they were asked for
        self._orphans = _wake_up_for_children()
        self._worker: Worker | None = None
        self._spare: Spare | None = None
        self._reaper: Reaper | None = None
        self._executor = self._fork_executor()

    def run(self) -> NoReturn:
        """Answer the proxy until it goes."""
        try:
            self._serve()
        except InstarError as error:
            print(f"instar-zygote: {error}", file=sys.stderr, flush=True)
        except BaseException:
            traceback.print_exc()
        try:
            if self._worker is not None:
                remains.end_all(self._isolation, [Path(self._worker.fork.directory)])
        finally:
            processes.end_descendants()
            os._exit(0)

    def _serve(self) -> None:
        while True:
            poll = select.poll()
            for descriptor in (self._control.fileno(), self._executor.pidfd, self._orphans.fileno()):
                poll.register(descriptor, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll(self._patience_ms())}
            if not ready:
                self._prepare()
            if self._orphans.fileno() in ready:
                self._reap()
            if self._executor.pidfd in ready:
                self._replace_executor()
            elif self._control.fileno() in ready and not self._answer():
                return

    def _patience_ms(self) -> float | None:
        """How long to wait before a spare process is forked; for ever, if there is one or none is wanted."""
        if self._idle_s is None or self._worker is None or self._spare is not None:
            return None
        return self._idle_s * 1000

    def _prepare(self) -> None:
        """Fork in an idle moment what the end of one function and the start of the next will need."""
        self._spare = self._fork_spare()
        if isinstance(self._isolation, Apart) and self._reaper is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = self._fork("instar-reaper", lambda: remains.reap(theirs), kept=[theirs.fileno()])
            theirs.close()
            self._reaper = Reaper(pid, ours)

    def _answer(self) -> bool:
        data, descriptors = packets.receive_several(self._control, CONTROL_BYTES, most=SLOTS)
        if not data:
            return False
        match decode_control(data):
            case Fork() as fork if descriptors:
                self._fork_worker(fork, [socket.socket(fileno=descriptor) for descriptor in descriptors])
            case Propose() if descriptors:
                with socket.socket(fileno=descriptors[0]) as proposer, contextlib.suppress(OSError):
                    self._tell_executor(Consider(), proposer)
            case Bury():
                self._control.send(encode_control(Buried(self._bury())))
            case Supersede():
                self._control.send(encode_control(Buried(self._bury(processes.stop_descendants))))
            case Renew():
                self._control.send(encode_control(Buried(self._renew())))
            case frame:
                raise ProtocolError(f"the zygote was sent a {type(frame).__name__}")
        return True

    def _reap(self) -> None:
        """Take the statuses of children that have ended: of what a function detached, nobody else does."""
        with contextlib.suppress(BlockingIOError):
            self._orphans.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if self._worker is not None and ended[0] == self._worker.pid:
                    self._ended[ended[0]] = ended[1]

    def _fork_worker(self, fork: Fork, channels: Sequence[socket.socket]) -> None:
        door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = self._tell_spare(fork, [*channels, theirs])
        for one in (*channels, theirs):
            one.close()
        self._worker = Worker(pid, door, fork)
        self._open_session()
        pidfd = os.pidfd_open(pid)
        socket.send_fds(self._control, [encode_control(Forked(pid))], [pidfd])
        os.close(pidfd)

    def _tell_spare(self, fork: Fork, connections: Sequence[socket.socket]) -> int:
        """Have a process be the worker, a new one if none waits; its pid."""
        spares = [spare] if (spare := self._spare) is not None else []
        self._spare = None
        for one in (*spares, None):
            found = one or self._fork_spare()
            with found.told:
                try:
                    socket.send_fds(found.told, [encode_control(fork)], [each.fileno() for each in connections])
                    return found.pid
                except BrokenPipeError:  # killed while it waited
                    continue
        raise ProcessError("a process that was forked just now has ended; the container ends")

    def _fork_spare(self) -> Spare:
        from instar.action import worker

        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def body() -> NoReturn:
            data, descriptors = packets.receive_several(theirs, CONTROL_BYTES, most=SLOTS + 1)
            theirs.close()
            if not descriptors:
                os._exit(0)  # the zygote has gone
            processes.name_self("instar-worker")
            *channels, door = (socket.socket(fileno=_out_of_the_way(descriptor)) for descriptor in descriptors)
            frame = decode_control(data)
            assert isinstance(frame, Fork)  # it came from the zygote
            self._become_worker(Path(frame.directory), slots=len(channels))
            worker.serve(channels, door, [name for name, _ in frame.models])

        pid = self._fork("instar-spare", body, kept=[theirs.fileno()])
        theirs.close()
        return Spare(pid, told)

    def _become_worker(self, directory: Path, *, slots: int) -> None:
        parent = os.getppid()
        if isinstance(self._isolation, Apart):
            belongings.hand_over(directory, self._isolation.worker_uid)
            os.environ |= belongings.environment(directory)
            limits.apply(limits.of_user(self._allowance))
            os.nice(NICE)
        privileges.become_worker(self._isolation)
        processes.end_with_parent(parent)
        data, threads = limits.data_bytes(os.getpid()), slots * self._threads  # torch has a pool for each
        limits.apply(limits.of_worker(self._allowance, data_bytes=data, threads=threads))

    def _bury(self, end: EndOthers = processes.end_descendants) -> int:
        """The worker's end: its exit code, or minus the signal that it had died of."""
        if self._worker is None:
            return 0
        self._reap()
        status = self._ended.pop(self._worker.pid, None)
        if status is None:  # else its pid may be another process's by now
            os.kill(self._worker.pid, signal.SIGKILL)  # which takes a while, in which the others are looked for
        spared = [self._executor.pid] + ([] if self._spare is None else [self._spare.pid])
        reaper, self._reaper = self._reaper, None
        remains.end_all(
            self._isolation,
            [Path(self._worker.fork.directory)],
            spared=spared,
            reaper=reaper,
            end=end,
        )
        self._worker.door.close()
        self._worker = None
        return os.waitstatus_to_exitcode(status or 0)

    def _renew(self) -> int:
        """The same, with another executor. This one's end is none of those that it may die."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._executor.pid, signal.SIGKILL)  # which goes on while the worker is buried
        status = self._bury()
        self._end_executor()
        self._executor = self._fork_executor()
        return status

    def _fork_executor(self) -> Executor:
        from instar.executor import server

        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def body() -> NoReturn:
            parent = os.getppid()
            privileges.become(Role.EXECUTOR, self._isolation)
            processes.end_with_parent(parent)
            server.serve(
                theirs,
                arena_bytes=self._arena_bytes,
                meter=self._meter,
                fetch_deadline_s=self._fetch_deadline_s,
            )

        pid = self._fork("instar-executor", body, kept=[theirs.fileno(), self._meter])
        theirs.close()
        return Executor(pid, os.pidfd_open(pid), control)

    def _end_executor(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._executor.pid, 0)
        self._executor.close()

    def _replace_executor(self) -> None:
        self._end_executor()
        self._lives -= 1
        if self._lives == 0:
            raise ProcessError(f"the executor died {EXECUTOR_LIVES} times; the container ends")
        self._executor = self._fork_executor()
        if self._worker is not None:
            self._open_session()

    def _open_session(self) -> None:
        """Hand the worker and the executor the two ends of a session."""
        assert self._worker is not None  # both callers have looked
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fork = self._worker.fork
        with ours, theirs:
            try:
                self._limit_executor()
                self._tell_executor(Open(fork.models, fork.store, fork.own), ours)
                socket.send_fds(self._worker.door, [b"\n"], [theirs.fileno()])
            except OSError:
                return  # one of them has just died, which the next turn of the loop sees and mends

    def _tell_executor(self, order: Order, connection: socket.socket) -> None:
        """Raises `OSError` where it has just died."""
        socket.send_fds(self._executor.control, [encode_order(order)], [connection.fileno()])

    def _limit_executor(self) -> None:
        pid, held = self._executor.pid, limits.held_bytes(self._allowance)
        data = limits.data_bytes(pid)
        limits.retune(
            pid, limits.of_executor(self._allowance, data_bytes=data, held_bytes=held, threads=self._threads)
        )

    def _fork(self, name: str, body: Callable[[], NoReturn], *, kept: Sequence[int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            processes.name_self(name)
            processes.close_all_but([0, 1, 2, *kept])
            import torch

            torch.set_num_threads(self._threads)
            body()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)


def _out_of_the_way(descriptor: int) -> int:
    """The same under a high number: a function that writes to 3, say, is to be told that there is no such file."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
    os.close(descriptor)
    return moved


def _wake_up_for_children() -> socket.socket:
    """A socket that can be read when a child has ended."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only a handled signal wakes up
    return ours


if __name__ == "__main__":
    main()
