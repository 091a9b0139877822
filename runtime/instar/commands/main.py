"""The command `instar`: finds its subcommands by entry point, runs one, and turns our errors into one line.

A subcommand is a module, or an object that looks like one, with `HELP`, `configure(parser)` and `run(arguments)`. The
group `instar.commands` of the installed distributions names them, so the runtime's command line never imports the
controller.

Whoever reads what a command prints may stop reading: it ends then, without a word. SIGTERM ends it from its first
moment on, also where it is the first process of a container, to which no signal comes that it has not asked for.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from types import FrameType

import instar
from instar.errors import InstarError

GROUP = "instar.commands"
FIRST = 1  # the process number of whatever a container is started with, unless it has an init
ENDED = 128 + signal.SIGTERM  # as shells tell of a process that SIGTERM has ended
NOBODY_READS = 141  # as shells tell of a process that a closed pipe has ended: 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status is 0, 1 for an error that it explained, or 2 for wrong usage."""
    if (
        os.getpid() == FIRST
    ):  # imports take a second, in which a `docker stop` would be missed, and waited for in vain
        signal.signal(signal.SIGTERM, _end)
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # while a closed pipe can still be told from other errors
    except BrokenPipeError:
        if not _is_unread(sys.stdout.fileno()):
            raise
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def _end(_signal: int, _frame: FrameType | None) -> None:
    """What the kernel does with any other process; a subcommand that ends in order takes this one's place."""
    raise SystemExit(ENDED)


def _is_unread(descriptor: int) -> bool:
    """Whether it is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)  # an error is told whether one asks for it or not
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _run(argv: Sequence[str] | None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    points = {point.name: point for point in metadata.entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(prog="instar", description="PyTorch functions on OpenWhisk, started warm.")
    parser.add_argument("--version", action="version", version=f"instar {instar.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, point in sorted(points.items()):
        if chosen in points and name != chosen:
            subparsers.add_parser(name)  # known, but not worth importing for another one's sake
            continue
        try:
            module = point.load()
        except ImportError as error:
            if name == chosen:
                print(
                    f"instar {name}: {error.name or error} is not installed; see README.md for the extra",
                    file=sys.stderr,
                )
                return 1
            continue
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.__doc__,
                                          formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        module.configure(subparser)
        subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except InstarError as error:
        print(f"instar {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
