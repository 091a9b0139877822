"""The zygote: imports torch once, then forks what needs it.

The rule: it computes nothing and starts no thread, or its children would hang: a parallel operation leaves
thread pools behind that a fork does not copy. It runs no user code; it only forks the executor at its start and
a worker per function, and ends what they leave behind.

When the proxy's end of the control socket closes, however that came, the zygote ends everything below it.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from instar.action import processes, worker
from instar.action.frames import (
    CONTROL_BYTES,
    Buried,
    Bury,
    Fork,
    Forked,
    decode_control,
    encode_control,
)
from instar.errors import ProtocolError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m instar.action.zygote")
    parser.add_argument("--control", type=int, required=True, help="the socket to the proxy")
    control = socket.socket(fileno=parser.parse_args().control)
    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the proxy's to answer

    import torch  # late: the process is reaped correctly even if this fails

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # a collection in a child would otherwise touch, and so copy, every page of this heap
    Zygote(control, cpus=len(os.sched_getaffinity(0))).run()


class Zygote:
    """Owns the container's children."""

    def __init__(self, control: socket.socket, *, cpus: int) -> None:
        self._control = control
        self._cpus = cpus
        self._worker: int | None = None

    def run(self) -> NoReturn:
        """Answer the proxy until it goes."""
        try:
            while True:
                data, descriptors, flags, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
                if not data:
                    break
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise ProtocolError(f"a frame to the zygote is longer than {CONTROL_BYTES} bytes")
                match decode_control(data):
                    case Fork():
                        self._fork_worker(socket.socket(fileno=descriptors[0]))
                    case Bury():
                        self._control.send(encode_control(Buried(self._bury())))
                    case frame:
                        raise ProtocolError(f"the zygote was sent a {type(frame).__name__}")
        finally:
            processes.end_descendants()
            os._exit(0)

    def _fork_worker(self, channel: socket.socket) -> None:
        self._worker = self._fork(lambda: worker.serve(channel))
        channel.close()
        pidfd = os.pidfd_open(self._worker)
        socket.send_fds(self._control, [encode_control(Forked(self._worker))], [pidfd])
        os.close(pidfd)

    def _bury(self) -> int:
        """The worker's end: its exit code, or minus the signal that ended it before we did."""
        if self._worker is None:
            return 0
        pid, status = os.waitpid(self._worker, os.WNOHANG)
        processes.end_descendants()
        self._worker = None
        return os.waitstatus_to_exitcode(status) if pid else -signal.SIGKILL

    def _fork(self, body: Callable[[], NoReturn]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            self._control.close()
            import torch

            torch.set_num_threads(self._cpus)
            body()
        finally:
            os._exit(1)


if __name__ == "__main__":
    main()
