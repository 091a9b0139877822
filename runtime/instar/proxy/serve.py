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

from instar.action import belongings, privileges, processes
from instar.action.privileges import Apart, Guarded, Isolation, Plain, Role
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Places
from instar.proxy.zygote import Settings, Zygote
from instar.weights.retry import Patience
from instar.weights.store import default_root

BACKLOG = 128
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the container ends. Exits with one line on standard error where it cannot begin."""
    options = _parser().parse_args(arguments)
    if options.threads < 1 or options.arena_mib < 1 or (options.memory_mib or 1) < 1:
        sys.exit("instar-runtime: --threads, --arena-mib and --memory-mib are at least 1")
    if not 0 < options.fetch_deadline_s < float("inf"):
        sys.exit("instar-runtime: --fetch-deadline-s is a number of seconds above 0")
    isolation = _isolation(options)
    listener = _listener(options)
    work = _work(options.work)
    places = Places(work=work, store=options.store.absolute())
    if options.lifeline is not None and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # whoever holds the lifeline may also kill the group
    processes.adopt_orphans()
    processes.name_self("instar-runtime")
    if isinstance(isolation, Apart):
        _hand_over(places)
        _rehearse(isolation, places)
    settings = Settings(options.arena_mib, options.threads, options.memory_mib, options.fetch_deadline_s, isolation)
    zygote = Zygote(settings)
    privileges.become(Role.MASTER, isolation)

    from instar.proxy.container import Container  # late, for torch is being imported meanwhile

    limits = BodyLimits(init_bytes=options.max_init_mib * MIB, run_bytes=options.max_run_mib * MIB)
    Container(zygote, places, isolation=isolation, limits=limits, lifeline=options.lifeline).serve(listener)


def _isolation(options: argparse.Namespace) -> Isolation:
    if not options.isolate and options.worker_uid is None:
        return Plain()
    if os.geteuid() != 0:
        if options.worker_uid is not None:
            sys.exit("instar-runtime: --worker-uid takes another user's place, which only root can")
        print(
            f"instar-runtime: started as user {os.geteuid()}, not as root: the function runs as its runtime's user",
            file=sys.stderr,
        )
        return Guarded()
    if missing := privileges.missing():
        sys.exit(
            f"instar-runtime: to run the function as another user takes the capabilities {', '.join(missing)}, which "
            "were taken away: give them back, or start as a user that is not root"
        )
    return Apart(_worker_uid(options.worker_uid))


def _worker_uid(fixed: int | None) -> int:
    if fixed is None:
        maps = (Path(f"/proc/self/{kind}_map").read_text() for kind in ("uid", "gid"))
        drawn = privileges.draw(*maps, number=int.from_bytes(os.urandom(8)))
        if drawn is None:
            sys.exit(
                f"instar-runtime: users {privileges.REAPER_UID} to {privileges.FIXED_UID} are not mapped into this "
                "user namespace: map 65536 of them, or start as a user that is not root"
            )
        return drawn
    if not 0 < fixed < 1 << 31 or fixed in (privileges.RUNTIME_UID, privileges.REAPER_UID):
        sys.exit(f"instar-runtime: --worker-uid {fixed} is nobody's to give; choose one that no program runs as")
    if running := processes.of_user(fixed):  # they would be ended with the function
        sys.exit(
            f"instar-runtime: --worker-uid {fixed} runs process {running[0]}; choose one that no program runs as"
        )
    return fixed


def _hand_over(places: Places) -> None:
    """Give what is the container's to the runtime's user, while this is still root."""
    try:
        places.give_to(privileges.RUNTIME_UID)
    except OSError as error:
        places.work.rmdir()
        sys.exit(f"instar-runtime: cannot give {error.filename} to user {privileges.RUNTIME_UID}: {error.strerror}")
    if places.store_is_everybodys():
        places.work.rmdir()
        sys.exit(f"instar-runtime: a function could change the store {places.store}: close it (chmod o-w)")
    belongings.open_streams()
    os.environ["HOME"] = str(places.work)  # root's is closed to others


def _rehearse(isolation: Isolation, places: Places) -> None:
    """See, in a process that becomes the runtime's user, that it can do its work."""
    needed: list[tuple[str | Path, int]] = [
        (places.work, os.R_OK | os.W_OK | os.X_OK),
        (__file__, os.R_OK),
        (os.__file__, os.R_OK),
    ]
    if places.store_is_read_only():  # another one has been given to that user
        needed.append((places.store, os.R_OK | os.X_OK))
    read, write = os.pipe()
    if os.fork() == 0:
        text = "cannot be had"
        try:
            privileges.become(Role.PROXY, isolation)
            closed = [str(path) for path, mode in needed if not os.access(path, mode)]
            text = f"cannot reach {closed[0]}: open the folders above it (chmod o+x)" if closed else ""
        except OSError as error:
            text = f"cannot be had: {error}"
        finally:
            os.write(write, text.encode())
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        text = answer.read()
    os.wait()
    if text:
        places.work.rmdir()
        sys.exit(f"instar-runtime: user {privileges.RUNTIME_UID}, who runs everything but the function, {text}")


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
    parser.add_argument("--memory-mib", type=int, help="what all processes may use (default: the control group's)")
    parser.add_argument(
        "--isolate", action="store_true", help="run the function as a user of its own (started as root; else say so)"
    )
    parser.add_argument("--worker-uid", type=int, help="the same, as this user, which must be nobody else's")
    parser.add_argument(
        "--fetch-deadline-s",
        type=float,
        default=os.environ.get("INSTAR_FETCH_DEADLINE_S") or Patience().deadline_s,
        help="how long a model's weights may take to arrive, in seconds (default 600, or $INSTAR_FETCH_DEADLINE_S)",
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
