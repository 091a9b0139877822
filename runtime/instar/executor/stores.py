"""The stores that an executor brings weights into, and keeps what it compiled in: the node's, or one of its own.

The rule: one fetcher for each store, for as long as the process lives, so what one function has begun to fetch the
next one finds. They have threads only while they fetch.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from instar.executor import load, skeletons
from instar.executor.live import Bring, LiveModel
from instar.executor.prepare import Prepared
from instar.plan.skeleton import Skeleton
from instar.weights.fetch import Fetcher
from instar.weights.pipeline import Urgency
from instar.weights.retry import Patience
from instar.weights.store import Store


@dataclass(frozen=True, slots=True)
class Stock:
    """A node's store as one container may use it; `own` takes what that cannot, where it may only be read."""

    fetcher: Fetcher
    own: Path | None

    def structure(self, folder: Path) -> Prepared:
        """What a package says of its model. Raises `PackageError`."""
        return load.structure(folder, store=self.fetcher.store, own=self.own)

    def skeleton(self, structure_digest: str, folder: Path) -> Skeleton:
        """The graph of the structure that the package in `folder` has. Raises `PackageError`."""
        return skeletons.of(structure_digest, folder, *load.caches(self.fetcher.store, self.own))

    def begin(self, folder: Path) -> LiveModel:
        """Load a package, as `load.begin` does."""
        return load.begin(folder, fetcher=self.fetcher, own=self.own)

    def bringing(self, prepared: Prepared, folder: Path) -> Bring:
        """What brings a package's weights for a request that waits for them."""
        return load.bringing(prepared, folder, fetcher=self.fetcher, urgency=Urgency.REQUEST)


class Stores:
    """Owns the fetchers. Safe for several threads."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._of: dict[tuple[Path, Path | None], Stock] = {}
        self._lock = threading.Lock()

    def of(self, node: str, own: str) -> Stock:
        """The store at `node`; `own` is the container's, where that one may only be read."""
        root = Path(node)
        second = Path(own) if _may_only_be_read(root) else None
        with self._lock:
            if (root, second) not in self._of:
                fetcher = Fetcher(Store(root), own=None if second is None else Store(second), patience=self._patience)
                self._of[root, second] = Stock(fetcher, second)
            return self._of[root, second]


def _may_only_be_read(root: Path) -> bool:
    return root.exists() and not os.access(root, os.W_OK)
