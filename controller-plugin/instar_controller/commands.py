"""`instar serve`: an OpenWhisk-compatible server on this machine, with nothing installed beside Python.

It prints the two lines that point the stock `wsk` at it, and runs until Ctrl-C, which ends everything that
it started. Actions and activation records survive a restart, and a crash. An activation that was running
when the server was killed is lost: its caller sees the connection break, and there is no record of it.

Here, and nowhere else, the parts are put together.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from instar_controller import notices, serving, settings
from instar_controller.clients import allocator, structured_logs
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ControllerError

HELP = "serve the OpenWhisk API on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    usual = settings.HttpSettings()
    pool = PoolSettings()
    docker = settings.DockerSettings()
    memory = f"memory of all containers together (default {pool.memory_mb})"
    prewarm = "containers that wait for an action; may be repeated; or 'none' (default: one of each kind)"
    keep_alive = f"seconds after which an idle container goes (default {pool.patience.keep_alive_s:g})"
    threshold = "seconds after which an idle container may become another function"
    across = "let idle containers become functions of other namespaces, too: for namespaces that trust each other"
    grace = f"seconds after which an idle Docker container is paused (default {docker.pause_grace_s:g})"
    costs = "profile of the machine that models run on, or 'none' to plan nothing (default: measured here, once)"
    store = "where weights are kept for all containers, or 'none' (default: $INSTAR_STORE or ~/.cache/instar)"
    add = parser.add_argument
    add("--host", default=usual.host, help=f"loopback address to listen on (default {usual.host})")
    add("--port", type=int, default=usual.port, help=f"TCP port, 0 for any free one (default {usual.port})")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="where actions, records and the key are kept (default: ~/.local/state/instar)",
    )
    add("--store", metavar="DIR", help=store)
    add("--costs", metavar="FILE", help=costs)
    add("--memory", type=int, default=pool.memory_mb, metavar="MB", help=memory)
    add("--prewarm", action="append", default=[], metavar="KIND:MB:COUNT", help=prewarm)
    add("--keep-alive", type=float, default=pool.patience.keep_alive_s, metavar="S", help=keep_alive)
    add(
        "--idle-threshold",
        type=float,
        default=pool.sharing.idle_threshold_s,
        metavar="S",
        help=f"{threshold} (default {pool.sharing.idle_threshold_s:g})",
    )
    add("--share-across-namespaces", action="store_true", help=f"{across} (default: no)")
    add(
        "--containers",
        choices=(settings.PROCESS, settings.DOCKER),
        default=settings.PROCESS,
        help="what containers are made of (default %(default)s)",
    )
    add("--docker-network", metavar="NAME", help=f"network of Docker containers (default {docker.network})")
    add("--pause-grace", type=float, metavar="S", help=grace)
    add("--manifest", type=Path, metavar="FILE", help="runtimes.json with other kinds and their images")
    add("--json", action="store_true", help="print events as JSON, one a line")
    add("--verbose", action="store_true", help="log what happens to containers, and why")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal. The exit status is 0, or 1 with one line that says why it cannot serve."""
    allocator.return_large_blocks()
    structured_logs.configure_text("info" if arguments.verbose else "warning")
    try:
        kinds = settings.read_manifest(arguments.manifest, containers=arguments.containers)
        chosen = settings.make(
            arguments.state or settings.default_state(os.environ),
            host=arguments.host,
            port=arguments.port,
            memory_mb=arguments.memory,
            keep_alive_s=arguments.keep_alive,
            stem_cells=settings.parse_stem_cells(arguments.prewarm, memory_mb=arguments.memory, manifest=kinds),
            docker=settings.docker_settings(
                arguments.containers, network=arguments.docker_network, pause_grace_s=arguments.pause_grace
            ),
            manifest=kinds,
            store=settings.store_folder(arguments.store, os.environ),
            sharing=settings.sharing_of(
                arguments.idle_threshold, share_across_namespaces=arguments.share_across_namespaces
            ),
            planning=settings.planning_of(arguments.costs, os.environ),
        )
        serving.serve(chosen, os.environ, notices.print_json if arguments.json else notices.print_text)
    except ControllerError as error:
        print(f"instar serve: {error}", file=sys.stderr)
        return 1
    return 0
