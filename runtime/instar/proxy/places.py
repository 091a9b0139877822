"""Where a container keeps its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

FUNCTION = "function-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one function's files lie. Until it is opened nobody gets there but the runtime's user: the function
    before may still be running."""

    folder: Path

    @property
    def action(self) -> Path:
        """The function's directory; its user's as soon as it has a process."""
        return self.folder / "action"

    @property
    def packages(self) -> Path:
        """Model packages, out of the function's reach: from its archive, or from elsewhere."""
        return self.folder / "packages"

    def make(self) -> None:
        self.folder.mkdir(mode=0o700)

    def open(self) -> None:
        """Let the function pass through to its directory; not look around."""
        self.folder.chmod(0o711)

    def remove(self) -> None:
        """Remove what a function, or an attempt to become one, has left. Its process, if it had one, is buried."""
        with contextlib.suppress(OSError):
            os.rmdir(self.action)  # where it was another user's, that is what the burial left of it
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Places:
    work: Path  # the container's own, removed when it ends
    store: Path  # the node's weights files

    def function(self, number: int) -> Place:
        """The place of the container's function of this number."""
        return Place(self.work / f"{FUNCTION}{number}")

    def functions(self) -> list[Place]:
        """Every function's that there is: one, or two while one becomes another."""
        return [Place(folder) for folder in self.work.glob(f"{FUNCTION}*")]

    @property
    def own(self) -> Path:
        """For what the node's store cannot take, where it is mounted read-only; a store, too."""
        return self.work / "store"

    def give_to(self, uid: int) -> None:
        """Give the directories to the runtime's user, before there is anything in them of the container's.

        A function may pass through the work directory and not look around in it, and sees nothing of the store. A
        store that is mounted read-only is the node's, and stays as it is.
        """
        os.chown(self.work, uid, uid)
        self.work.chmod(0o711)
        if self.store_is_read_only():
            return
        if not self.store.exists():
            self.store.mkdir(parents=True)
            os.chown(self.store, uid, uid)
        status = self.store.stat()
        if status.st_uid == uid:  # else it is an operator's, who knows why
            self.store.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO)

    def store_is_everybodys(self) -> bool:
        """Whether a user who is nobody in particular may write there."""
        return not self.store_is_read_only() and bool(self.store.stat().st_mode & stat.S_IWOTH)

    def store_is_read_only(self) -> bool:
        """Whether its file system is, as where a container has the node's store mounted."""
        return self.store.exists() and bool(os.statvfs(self.store).f_flag & os.ST_RDONLY)

    def remove(self) -> None:
        """Remove everything, at the container's end."""
        for place in self.functions():
            place.remove()
        shutil.rmtree(self.work, ignore_errors=True)
