"""The commands `instar invoker` and `instar dispatcher`: options, log, and lines that tell how far the program is.

One rule: an option stands for a variable of the environment, and is declared from the same table. The two commands
differ in nothing but which program they run.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping

from instar_controller import cluster_variables, configured, notices, variables
from instar_controller.clients import allocator
from instar_controller.errors import ControllerError, SettingsError
from instar_controller.notices import Announce
from instar_controller.variables import Program

FAILED, WRONG_USAGE = 1, 2  # exit statuses, the second as of an option that there is not
Options = Mapping[str, str | None]
Begin = Callable[[Options, Announce], None]

INVOKER_TEXT = """`instar invoker`: an invoker of Apache OpenWhisk, for a stock controller to send its activations to.

It reads the variables of the stock invoker where they exist, and its own beside. With `--id N` it is invoker N; with
`--dispatched` it is a node that `instar dispatcher` sends work to. It waits for a broker and a database that do not
answer yet, and says so; SIGTERM ends it when what runs has finished.
"""
DISPATCHER_TEXT = """`instar dispatcher`: one invoker of Apache OpenWhisk whose memory is that of all nodes behind it.

A stock controller sees invoker N; each activation goes to the node that `instar dispatcher` picks, one that has the
function warm if it can. The nodes are `instar invoker --dispatched`; what a node that has died had not begun goes to
another one, and what it had begun is answered with a failure of the platform, never both.
"""


class Command:
    """A subcommand, as the command `instar` finds it by its entry point. `begin` runs the program until a signal."""

    def __init__(self, program: Program, help: str, text: str, begin: Begin) -> None:
        self.HELP = help
        self.__doc__ = text
        self._program = program
        self._begin = begin

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the program."""
        parser.epilog = "Other variables of the environment are in deploy/README.md."
        for variable in self._variables():
            default = f"; default {variable.default}" if variable.default else ""
            told = f"{variable.meaning} [{variable.name}{default}]".replace("%", "%%").replace("`", "")
            if variable.read is configured.truth:
                parser.add_argument(variable.flag, dest=variable.name, action="store_const", const="true", help=told)
            else:
                parser.add_argument(variable.flag, dest=variable.name, metavar="VALUE", help=told)
        parser.add_argument("--json", action="store_true", help="print events as JSON, one a line")

    def run(self, arguments: argparse.Namespace) -> int:
        """Run until a signal. The exit status is 0, or with one line that says why it cannot run: 2 if a setting
        makes no sense, 1 for anything else.
        """
        allocator.return_large_blocks()
        try:
            self._begin(self.options(arguments), notices.print_json if arguments.json else notices.print_text)
        except ControllerError as error:
            print(f"instar {self._program.value}: {error}", file=sys.stderr)
            return WRONG_USAGE if isinstance(error, SettingsError) else FAILED
        finally:
            logging.shutdown()
        return 0

    def options(self, arguments: argparse.Namespace) -> Options:
        """What the command line says, by the name of the variable that each option stands for."""
        return {variable.name: getattr(arguments, variable.name) for variable in self._variables()}

    def _variables(self) -> list[variables.Variable[object]]:
        """Those that have an option."""
        return [variable for variable in variables.of(self._program, cluster_variables.ALL) if variable.flag]


def _invoker(options: Options, announce: Announce) -> None:
    # Late, as in the other one: neither program is loaded for the other's sake, nor for a list of commands.
    from instar_controller import beginning, cluster_settings, invoking

    beginning.run(Program.INVOKER, cluster_settings.invoker, invoking.serve, os.environ, options, announce)


def _dispatcher(options: Options, announce: Announce) -> None:
    from instar_controller import beginning, cluster_settings, dispatching

    beginning.run(Program.DISPATCHER, cluster_settings.dispatcher, dispatching.serve, os.environ, options, announce)


INVOKER = Command(Program.INVOKER, "run functions for a stock OpenWhisk controller", INVOKER_TEXT, _invoker)
DISPATCHER = Command(
    Program.DISPATCHER, "share an OpenWhisk invoker's activations among nodes", DISPATCHER_TEXT, _dispatcher
)
