"""Measure what turning one model into another, and loading one, take on this machine; keep it for the planner.

instar profile             measure for half a minute, and keep the profile where `instar serve` looks for it
instar profile --quick     measure for some seconds, less exactly

The profile goes to $INSTAR_PROFILES, or to `profiles` in the node's store, as that of this kind of device: processor,
number of threads and torch's release. End other programs first; what they take is measured, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from instar import profiles
from instar.errors import PlanError
from instar.profiles import Profile

if TYPE_CHECKING:
    from instar.executor.profiling.survey import Survey

HELP = "measure what transformations and loads take on this machine"
ENOUGH = 0.9  # of the estimates for what was held out, to be within 30 % of the truth


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", metavar="DIR", type=Path, help="keep the profile in this folder instead")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller models: some seconds, less exact")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Measure, keep, show."""
    from instar.executor.profiling import survey  # torch takes a second, which --help need not

    profile = measured(survey.QUICK if arguments.quick else survey.THOROUGH)
    path = profiles.write(arguments.out or profiles.folder(os.environ), profile)
    if arguments.json:
        print(json.dumps({**json.loads(profiles.encode(profile)), "file": os.fspath(path)}))
        return 0
    print(f"device      {profile.costs.device}")
    print(f"measured    {profile.measured_on}")
    print(f"error       {profile.error}")
    print(f"held out    {profile.held_out}")
    for name, rate in sorted(profile.costs.rates_ns.items()):
        print(f"  {rate:14.6g} ns  {name}")
    print(f"kept as     {path}")
    if profile.held_out.within_30 < ENOUGH:
        print(
            "estimates are far off more often than they should be: was the machine busy? Measure again when it is not"
        )
    return 0


def measured(wanted: Survey) -> Profile:
    """Measure this machine in a folder that is gone afterwards. Raises `PlanError`."""
    from instar.executor.profiling import survey  # as above

    with _report() as report:
        try:
            with tempfile.TemporaryDirectory(prefix="instar-profile-") as folder:
                return survey.profile(wanted, Path(folder), report)
        except OSError as error:
            raise PlanError(
                f"nothing can be measured in {tempfile.gettempdir()} ({error.strerror}); free some space, or set "
                "TMPDIR to a folder on another disk"
            ) from error


@contextlib.contextmanager
def _report() -> Iterator[Callable[[int, int], object]]:
    """How far it is, for somebody who looks on."""
    if not sys.stderr.isatty():
        yield lambda done, count: None
        return
    from tqdm import tqdm  # only a person who waits needs a bar

    with tqdm(desc="measuring", unit="pair", leave=False) as bar:

        def report(done: int, count: int) -> None:
            bar.total = count
            bar.update(done - bar.n)

        yield report
