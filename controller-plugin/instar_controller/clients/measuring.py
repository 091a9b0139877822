"""`python -m instar_controller.clients.measuring`: `instar profile`, while somebody holds its standard input open.

One rule: it ends with whoever started it, however that ended, and with it every process that it started. So it is to
be the first of a process group of its own.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

GRACE_S = 5.0  # then it is killed; it has the least priority, and may not run at once
AGAIN_S = 0.1


def end_with_input() -> None:
    """From here on this process, and its group, ends when its standard input does."""
    signal.signal(signal.SIGINT, _interrupt)  # a shell has what it starts in the background ignore it
    threading.Thread(target=_wait_for_its_end, name="instar-lifeline", daemon=True).start()


def _wait_for_its_end() -> None:
    while os.read(0, 1):
        pass
    if os.getpgrp() != os.getpid():  # this group is somebody else's
        os._exit(1)
    os.killpg(0, signal.SIGINT)  # so that it clears away what it has written
    for _ in range(round(GRACE_S / AGAIN_S)):
        time.sleep(AGAIN_S)
        # A signal that comes between Python's last look and a blocking call does not end the call. The next one does.
        os.kill(os.getpid(), signal.SIGINT)
    os.killpg(0, signal.SIGKILL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what it does from now on is clearing away
    raise KeyboardInterrupt


if __name__ == "__main__":
    end_with_input()
    sys.argv[1:1] = ["profile"]
    runpy.run_module("instar", run_name="__main__")  # by name: the controller imports no floor that knows torch
