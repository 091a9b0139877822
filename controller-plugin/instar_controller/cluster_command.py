"""What the commands `instar invoker` and `instar dispatcher` have in common: options, log, and lines that tell how
far it is.

One rule: an option stands for a variable of the environment, and is declared from the same table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Mapping

from instar_controller import cluster_variables, configured, variables
from instar_controller.clients import allocator, structured_logs
from instar_controller.cluster_notices import (
    Answering,
    Draining,
    Ended,
    Notice,
    Prewarmed,
    Removed,
    Waiting,
    Working,
)
from instar_controller.cluster_settings import ProgramSettings
from instar_controller.errors import ControllerError
from instar_controller.variables import Program

Announce = Callable[[Notice], None]
Options = Mapping[str, str | None]


def configure(parser: argparse.ArgumentParser, program: Program) -> None:
    """Declare the options of a program."""
    parser.epilog = "Other variables of the environment are in deploy/README.md."
    for variable in variables.of(program, cluster_variables.ALL):
        if not variable.flag:
            continue
        default = f"; default {variable.default}" if variable.default else ""
        told = f"{variable.meaning} [{variable.name}{default}]".replace("%", "%%").replace("`", "")
        if variable.read is configured.truth:
            parser.add_argument(variable.flag, dest=variable.name, action="store_const", const="true", help=told)
        else:
            parser.add_argument(variable.flag, dest=variable.name, metavar="VALUE", help=told)
    parser.add_argument("--json", action="store_true", help="print events as JSON, one a line")


def options(arguments: argparse.Namespace, program: Program) -> Options:
    """What the command line says, by the name of the variable that each option stands for."""
    flags = [variable.name for variable in variables.of(program, cluster_variables.ALL) if variable.flag]
    return {name: getattr(arguments, name) for name in flags}


def run(
    arguments: argparse.Namespace,
    program: Program,
    begin: Callable[[Options, Announce], None],
) -> int:
    """Run a program until a signal. The exit status is 0, or 1 with one line that says why it cannot run."""
    allocator.return_large_blocks()
    try:
        begin(options(arguments, program), _print_json if arguments.json else _print_text)
    except ControllerError as error:
        print(f"instar {program.value}: {error}", file=sys.stderr)
        return 1
    finally:
        logging.shutdown()
    return 0


def configure_log(settings: ProgramSettings) -> None:
    """Log as the settings say."""
    match settings.log_format:
        case cluster_variables.JSON:
            structured_logs.configure_json(settings.log_level)
        case _:
            structured_logs.configure_text(settings.log_level)


def _print_text(notice: Notice) -> None:
    match notice:
        case Answering(name, url, is_loopback):
            whom = "" if is_loopback else ", to everybody who can reach it: keep its port from strangers"
            _print(f"{name} answers probes and operators on {url}{whom}.")
        case Waiting(what, why):
            _print(f"Waiting for {what}: {why}")
        case Working(name, topic):
            _print(f"{name} works; it reads {topic}. Ctrl-C or SIGTERM ends it.")
        case Draining(seconds):
            _print(f"No more work is taken; what runs gets {seconds:g} s.")
        case Ended():
            _print("Ended.")
        case Prewarmed() | Removed():
            pass  # the log tells what a reader of this should know


def _print_json(notice: Notice) -> None:
    event: dict[str, object]
    match notice:
        case Answering(name, url):
            event = {"event": "answering", "name": name, "url": url}
        case Waiting(what, why):
            event = {"event": "waiting", "for": what, "why": why}
        case Working(name, topic):
            event = {"event": "working", "name": name, "topic": topic}
        case Prewarmed(kind, memory_mb):
            event = {"event": "prewarmed", "kind": kind, "memory": memory_mb}
        case Removed(container, reason, ending):
            event = {"event": "removed", "container": container, "reason": reason.why.value, "detail": reason.detail}
            if ending is not None:
                event["ending"] = str(ending)
        case Draining(seconds):
            event = {"event": "draining", "seconds": seconds}
        case Ended():
            event = {"event": "ended"}
    _print(json.dumps(event))


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
        print(f"{line}\n", end="", flush=True)  # in one piece: several threads have news
