"""What this kind of device takes to transform and to load, for the planner: known already, or measured now, once.

One rule: nobody but the planner waits for it. Measuring is a process of its own that lets every other one go first;
it ends with this one. Without a measurement there are no costs, and nothing is planned.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from instar import profiles
from instar.errors import PlanError
from instar.plan.costs import Costs

logger = logging.getLogger(__name__)

# -P: whatever lies in the folder in which the server was started is no module of ours.
COMMAND = (sys.executable, "-P", "-m", "instar_controller.clients.measuring")
LEAST_PRIORITY = 19
SAID_CHARACTERS = 300  # of the last line on standard error


@dataclass(frozen=True, slots=True)
class Measuring:
    """This kind of device is being measured."""

    device: str


@dataclass(frozen=True, slots=True)
class Measured:
    """It was, and this is how far off the estimates are."""

    device: str
    held_out: str


@dataclass(frozen=True, slots=True)
class GivenCosts:
    """Costs that somebody else has said, or that there are none: nothing is measured, and nothing planned then."""

    costs: Costs | None

    def get(self) -> Costs | None:
        return self.costs

    def close(self) -> None:
        """There is nothing to end."""


class DeviceCosts:
    """The costs of this device, from the profile in `folder`, or measured into it."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        announce: Callable[[Measuring | Measured], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._folder = folder
        self._environment = {**environment, "INSTAR_PROFILES": str(folder)}
        self._announce = announce
        self._command = list(command)
        self._lock = threading.Lock()  # for what follows
        self._lifeline: int | None = None  # of the process that measures
        self._is_closed = False

    def get(self) -> Costs | None:
        """The costs; None if there are none to be had, which is a line in the log. May take minutes."""
        device = profiles.device_kind()
        try:
            known = profiles.find(self._folder, device)
            if known is not None:
                return known.costs
        except PlanError as error:
            logger.warning("%s", error)
        self._announce(Measuring(device))
        reason = self._measure()
        if self._is_closed:
            return None
        try:
            measured = None if reason else profiles.find(self._folder, device)
        except PlanError as error:
            measured, reason = None, str(error)
        if measured is None:
            logger.warning(
                "this machine's costs cannot be measured, so nothing is planned: %s; run `instar profile`, or name "
                "a profile with --costs", reason or "the measurement is of another kind of device"
            )  # fmt: skip
            return None
        self._announce(Measured(device, str(measured.held_out)))
        return measured.costs

    def close(self) -> None:
        """Measure no more: `get` returns soon."""
        with self._lock:
            self._is_closed = True
            self._let_go()

    def _measure(self) -> str | None:
        """Have it measured; why that failed, if it did."""
        with self._lock:
            if self._is_closed:
                return "the server ends"
            reader, self._lifeline = os.pipe()
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=reader,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=self._environment,
                    process_group=0,
                )
            except OSError as error:
                self._let_go()
                return str(error)
            finally:
                os.close(reader)
        with contextlib.suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, LEAST_PRIORITY)
        said = process.communicate()[1].decode(errors="replace").strip().rpartition("\n")[2]
        with self._lock:
            self._let_go()
        return None if process.returncode == 0 else f"{said[-SAID_CHARACTERS:]} (exit status {process.returncode})"

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
