"""`instar dispatcher`: one invoker of Apache OpenWhisk whose memory is that of all nodes behind it.

A stock controller sees invoker N; each activation goes to the node that `instar dispatcher` picks, one that has the
function warm if it can. The nodes are `instar invoker --dispatched`; what a node that has died had not begun goes to
another one, and what it had begun is answered with a failure of the platform, never both.
"""

from __future__ import annotations

import argparse
import os

from instar_controller import beginning, cluster_command, cluster_settings, dispatching
from instar_controller.variables import Program

HELP = "share an OpenWhisk invoker's activations among nodes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    cluster_command.configure(parser, Program.DISPATCHER)


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal. The exit status is 0, or 1 with one line that says why it cannot run."""

    def begin(options: cluster_command.Options, announce: cluster_command.Announce) -> None:
        program, read = Program.DISPATCHER, cluster_settings.dispatcher
        beginning.run(program, read, dispatching.serve, os.environ, options, announce)

    return cluster_command.run(arguments, Program.DISPATCHER, begin)
