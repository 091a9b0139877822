"""`instar-runtime`: the command that serves one action container.

The rule: the socket listens before anything heavy is imported, so that a caller waits instead of being refused,
and nothing is printed: standard output and standard error belong to the function.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from instar.action import processes
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Places
from instar.proxy.zygote import Settings, Zygote
from instar.weights.store import default_root

BACKLOG = 128
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the container ends. Exits with one line on standard error where it cannot begin."""
    options = _parser().parse_args(arguments)
    if options.threads < 1 or options.arena_mib < 1:
        sys.exit("instar-runtime: --threads and --arena-mib are at least 1")
    if options.worker_uid is not None and os.geteuid() != 0:
        sys.exit("instar-runtime: --worker-uid takes another user's place, which only root can")
    listener = _listener(options)
    work = _work(options.work)
    if options.lifeline is not None and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # whoever holds the lifeline may also kill the group
    processes.adopt_orphans()
    processes.name_self("instar-runtime")
    zygote = Zygote(Settings(options.arena_mib, options.threads, options.worker_uid))

    from instar.proxy.container import Container  # late, for torch is being imported meanwhile

    limits = BodyLimits(init_bytes=options.max_init_mib * MIB, run_bytes=options.max_run_mib * MIB)
    store = options.store.absolute()
    places = Places(work=work, store=store, owner=options.worker_uid)
    Container(zygote, places, limits=limits, lifeline=options.lifeline).serve(listener)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="instar-runtime", description="Serve one OpenWhisk action container.")
    parser.add_argument("--port", type=int, default=8080, help="TCP port to listen on (default 8080)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--fd", type=int, help="a listening TCP socket, instead of --host and --port")
    parser.add_argument("--lifeline", type=int, help="end the container when this descriptor reads end-of-file")
    parser.add_argument("--work", help="where to make the directory of the action's files (default: a temporary one)")
    parser.add_argument("--max-init-mib", type=int, default=128, help="largest body of /init (default 128)")
    parser.add_argument("--max-run-mib", type=int, default=64, help="largest body of /run and answer (default 64)")
    parser.add_argument("--arena-mib", type=int, default=512, help="most memory for a model call's tensors (512)")
    cpus = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cpus, help="torch's threads (default: as many as CPUs)")
    parser.add_argument(
        "--worker-uid", type=int, help="run the function as this user (root only; default: as this one)"
    )
    parser.add_argument("--store", default=default_root(dict(os.environ)), type=Path, help="the node's weights files")
    return parser


def _listener(options: argparse.Namespace) -> socket.socket:
    where = f"descriptor {options.fd}" if options.fd is not None else f"{options.host}:{options.port}"
    try:
        if options.fd is None:
            return socket.create_server((options.host, options.port), backlog=BACKLOG)
        listener = socket.socket(fileno=options.fd)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("it does not listen")
        return listener
    except (OSError, OverflowError) as error:
        # Not strerror: `create_server` adds the address to it, which stands in the line already.
        number = getattr(error, "errno", None)
        sys.exit(f"instar-runtime: cannot listen on {where}: {os.strerror(number) if number else error}")


def _work(parent: str | None) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="instar-", dir=parent)).resolve()
    except OSError as error:
        sys.exit(
            f"instar-runtime: cannot make a working directory in {parent or tempfile.gettempdir()}: {error.strerror}"
        )


if __name__ == "__main__":
    main()
