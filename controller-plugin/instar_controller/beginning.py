"""What `instar invoker` and `instar dispatcher` do first: hear signals, read their settings, answer probes, and learn
their number where that is kept in ZooKeeper.

One rule: all settings are checked before anybody outside is asked; and whoever waits for a number is alive, is not
ready, says for what it waits, and ends at a signal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from instar_controller import cluster_parts, cluster_settings
from instar_controller import cluster_variables as names
from instar_controller.clients import structured_logs
from instar_controller.clients.metrics import Metrics
from instar_controller.cluster_parts import Stopped, Stopping
from instar_controller.cluster_settings import NumberingSettings, ProgramSettings
from instar_controller.engines import numbering
from instar_controller.errors import OverloadedError
from instar_controller.notices import Announce, Ended
from instar_controller.operations import Operations, OperationsServer
from instar_controller.variables import Program

Environment = Mapping[str, str]
Options = Mapping[str, str | None]
ANY_NUMBER = "0"  # to check the other settings by, as long as the true one is not known


class Begun(NamedTuple):
    """What is there when a program's work begins. Whoever made it closes it."""

    stopping: Stopping
    server: OperationsServer


class Settings(Protocol):
    """Of one of the programs."""

    @property
    def program(self) -> ProgramSettings: ...


S = TypeVar("S", bound=Settings)


def run(
    program: Program,
    read: Callable[[Environment, Options], S],
    serve: Callable[[S, Environment, Announce, Begun], None],
    environment: Environment,
    options: Options,
    announce: Announce,
) -> None:
    """Read the settings, and work as they say until SIGINT or SIGTERM. To be called from the main thread.

    Raises what `read` and `serve` raise, and `SettingsError` if the port or the number cannot be had.
    """
    stopping = Stopping()
    wanted = cluster_settings.numbering(program, environment, options)
    settings = read(environment, options if wanted is None else {**options, names.ID.name: ANY_NUMBER})
    _configure_log(settings.program)
    with contextlib.closing(OperationsServer(settings.program.operations)) as server:
        begun = Begun(stopping, server)
        if wanted is not None:
            try:
                number = ask(wanted, begun, announce)
            except Stopped:
                announce(Ended())
                return
            settings = read(environment, {**options, names.ID.name: str(number)})
        serve(settings, environment, announce, begun)


def ask(wanted: NumberingSettings, begun: Begun, announce: Announce) -> int:
    """Wait for the number that ZooKeeper has for a name. Raises `Stopped`, or `SettingsError` if people have to see
    to it first.
    """
    # Late: most programs are told their number.
    from instar_controller.clients import zookeeper

    unready = f"it has no number yet: it waits for ZooKeeper at {wanted.zookeeper}"
    found: list[int] = []

    def attempt() -> None:
        with zookeeper.numbers(wanted.zookeeper) as numbers:
            found.append(numbering.assign(wanted.unique_name, numbers, overwrite=wanted.overwrite))

    begun.server.start(
        Operations(wanted.unique_name, _NoSwitch(), Metrics().exposition, lambda: (), lambda: (unready,))
    )
    cluster_parts.insist("a number", attempt, begun.stopping, announce)
    return found[-1]


def _configure_log(settings: ProgramSettings) -> None:
    match settings.log_format:
        case names.JSON:
            structured_logs.configure_json(settings.log_level)
        case _:
            structured_logs.configure_text(settings.log_level)


class _NoSwitch:
    """In the place of what an operator turns, as long as no number says which invoker is turned."""

    is_enabled = False

    def enable(self) -> None:
        raise OverloadedError("It has no number yet: it waits for ZooKeeper. Ask again later.")

    disable = enable
