"""What is left when a function has ended: its processes, its files, its memory.

The rule: of a user that is a worker's alone, nothing stays: every process is killed, detached or not, and then
whatever the user owns where everybody may write, in the function's directory and in shared memory is removed.

The work is done by a child that has that user's rights and no others, so a hostile name or link leads to nothing
that the function could not have removed by itself; and no name can be swapped, for by then its processes are dead.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from instar.action import privileges, processes
from instar.action.privileges import Apart, Isolation
from instar.errors import ProcessError

EVERYBODYS = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")
IPC_RMID = 0  # linux/ipc.h
ATTEMPTS = 3  # somebody else's clean-up may end ours
BATCH = 10_000  # names of a directory that are held in memory

ORDER_BYTES = 64 * 1024

End = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Reaper:
    """A child that waits to be told whose remains to remove, on the other end of this connection."""

    pid: int
    connection: socket.socket


def fork_reaper() -> Reaper:
    """One that is needed now."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            reap(theirs)
        finally:
            os._exit(1)
    theirs.close()
    return Reaper(pid, ours)


def reap(parent: socket.socket) -> NoReturn:
    """Be the child: wait to be told, do it once, end."""
    data = parent.recv(ORDER_BYTES)
    if data:
        uid, directories = json.loads(data)
        _wipe_as(uid, [Path(directory) for directory in directories], parent)
    os._exit(0)


def wipe(uid: int, directories: Sequence[Path], end: End, *, reaper: Reaper | None = None) -> None:
    """Leave nothing of the user `uid`, nor anything of it in `directories`, which were its own.

    `end(spared)` must end every process below this one but those it keeps and `spared`. `reaper` is a child
    that waits already, and is used up. Raises `ProcessError` where it cannot be done.
    """
    for _ in range(ATTEMPTS):
        if _wipe(reaper or fork_reaper(), uid, directories, end) == 0:
            return
        reaper = None
    raise ProcessError(f"what the function left as user {uid} cannot be removed; the container ends")


class EndOthers(Protocol):
    """`processes.end_descendants`, or `stop_descendants`, which does not wait until the kernel has cleared up."""

    def __call__(self, *, spared: Collection[int]) -> None: ...


def end_all(
    isolation: Isolation,
    directories: Sequence[Path],
    *,
    spared: Sequence[int] = (),
    reaper: Reaper | None = None,
    end: EndOthers = processes.end_descendants,
) -> None:
    """End everything below this process but `spared`; of a worker that was a user of its own, leave nothing."""
    if isinstance(isolation, Apart):
        uid = isolation.worker_uid
        wipe(uid, directories, lambda child: end(spared=[*spared, child]), reaper=reaper)
    else:
        end(spared=spared)


def _wipe(reaper: Reaper, uid: int, directories: Sequence[Path], end: End) -> int:
    with reaper.connection as ours:
        with contextlib.suppress(OSError):  # it was killed; then `end` does it alone
            ours.send(json.dumps([uid, [str(directory) for directory in directories]]).encode())
            ours.recv(1)  # killed all, or has gone
        end(reaper.pid)
        with contextlib.suppress(OSError):
            ours.send(b".")
    with contextlib.suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(reaper.pid, 0)[1])
    return 1


def _wipe_as(uid: int, directories: Sequence[Path], parent: socket.socket) -> None:
    privileges.become_reaper(uid)
    os.chdir("/")
    # All of them in one step of the kernel's: a process that forks without end cannot get ahead of it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
    parent.send(b".")
    parent.recv(1)  # they do nothing any more, and are not only about to stop
    remove_shared_memory(uid)
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.chmod(stat.S_IRWXU)
    for folder in (*directories, *map(Path, EVERYBODYS)):
        remove_files(folder, uid)


def remove_files(folder: Path, uid: int) -> None:
    """Remove what `uid` owns in `folder`, with all that is below it; and in folders there that are everybody's."""
    with contextlib.suppress(OSError), _opened(folder) as top:
        for name in os.listdir(top):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=top, follow_symlinks=False)
                if status.st_uid == uid:
                    _remove(top, name)
                elif stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH:
                    remove_files(folder / name, uid)


def _remove(top: int, name: str) -> None:
    """Remove a file, or a directory of any depth: what lies deep in it is lifted up first, to open few at a time."""
    waiting = [name]
    while waiting:
        name = waiting.pop()
        try:
            os.unlink(name, dir_fd=top)
        except IsADirectoryError:
            while _empty(top, name, waiting):
                pass
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=top)
        except OSError:
            continue


def _empty(top: int, name: str, waiting: list[str]) -> bool:
    """Take names out of the directory `name`, into `waiting` if they are not empty. Whether there may be more."""
    progress = False
    with contextlib.suppress(OSError), _opened(name, top) as inner:
        with os.scandir(inner) as entries:
            batch = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(entries, BATCH)]
        for below, is_folder in sorted(batch, key=lambda entry: entry[1]):  # files first, which makes room
            with contextlib.suppress(OSError):
                if not is_folder:
                    os.unlink(below, dir_fd=inner)
                else:
                    os.chmod(below, stat.S_IRWXU, dir_fd=inner)  # to move a directory is to change it
                    lifted = f".instar-{os.urandom(8).hex()}"
                    os.rename(below, lifted, src_dir_fd=inner, dst_dir_fd=top)
                    waiting.append(lifted)
                progress = True
    return progress


@contextlib.contextmanager
def _opened(name: str | Path, top: int | None = None) -> Iterator[int]:
    if top is not None:
        os.chmod(name, stat.S_IRWXU, dir_fd=top)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_shared_memory(uid: int) -> None:
    """Remove System V's shared memory, semaphores and message queues of a user; nothing else ends them."""
    libc = processes.libc()
    removals: tuple[tuple[str, Callable[[int], object]], ...] = (
        ("shm", lambda id: libc.shmctl(id, IPC_RMID, None)),
        ("sem", lambda id: libc.semctl(id, 0, IPC_RMID)),
        ("msg", lambda id: libc.msgctl(id, IPC_RMID, None)),
    )
    for kind, remove in removals:
        with contextlib.suppress(OSError):
            for id in parse_ipc(Path(f"/proc/sysvipc/{kind}").read_text(), uid):
                remove(id)


def parse_ipc(text: str, uid: int) -> list[int]:
    """The ids in a table of `/proc/sysvipc` that a user owns or has made."""
    head, *lines = (line.split() for line in text.splitlines())
    rows = (dict(zip(head, line, strict=False)) for line in lines)
    id = head[1]
    return [int(row[id]) for row in rows if str(uid) in (row["uid"], row["cuid"])]
