"""`instar invoker`: an invoker of Apache OpenWhisk, for a stock controller to send its activations to.

It reads the variables of the stock invoker where they exist, and its own beside. With `--id N` it is invoker N; with
`--dispatched` it is a node that `instar dispatcher` sends work to. It waits for a broker and a database that do not
answer yet, and says so; SIGTERM ends it when what runs has finished.
"""

from __future__ import annotations

import argparse
import os

from instar_controller import beginning, cluster_command, cluster_settings, invoking
from instar_controller.variables import Program

HELP = "run functions for a stock OpenWhisk controller"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    cluster_command.configure(parser, Program.INVOKER)


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal. The exit status is 0, or 1 with one line that says why it cannot run."""

    def begin(options: cluster_command.Options, announce: cluster_command.Announce) -> None:
        program, read = Program.INVOKER, cluster_settings.invoker
        beginning.run(program, read, invoking.serve, os.environ, options, announce)

    return cluster_command.run(arguments, Program.INVOKER, begin)
