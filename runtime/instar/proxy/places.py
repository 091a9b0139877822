"""Where a container keeps its files, and whose they are."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    work: Path  # the container's own, removed when it ends
    store: Path  # the node's weights files
    owner: int | None = None  # the function's user, if it is not this process's

    @property
    def action(self) -> Path:
        """The function's directory."""
        return self.work / "action"

    @property
    def packages(self) -> Path:
        """Model packages that came from elsewhere."""
        return self.work / "packages"

    def hand_over(self) -> None:
        """Give the function's directory to the function's user."""
        if self.owner is None:
            return
        self.work.chmod(0o711)  # to pass through, not to look around
        os.chown(self.action, self.owner, self.owner)
        for folder, below, files in os.walk(self.action):
            for name in below + files:
                os.chown(os.path.join(folder, name), self.owner, self.owner, follow_symlinks=False)

    def clear(self) -> None:
        """Remove what an attempt to become a function has left."""
        shutil.rmtree(self.action, ignore_errors=True)
        shutil.rmtree(self.packages, ignore_errors=True)
