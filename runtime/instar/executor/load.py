"""A package becomes a live model: prepare, map, bind. None of it waits for weights.

Structure is read back from what this node compiled before, weights are one mapping of the store's file, there or on
its way, and binding is one view a tensor. No byte of the weights is copied, and none is read before an operator asks
for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from instar.executor.live import Bring, LiveModel
from instar.executor.mapping import Bound, WeightsMapping
from instar.executor.prepare import Prepared, prepare
from instar.package import MODEL_FILE
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.pipeline import Urgency
from instar.weights.store import Store

COMPILED = "compiled"  # folder of a store


def load(package_dir: Path, *, store: Store) -> LiveModel:
    """Load the model package in a folder and wait until all its weights are on the node.

    Raises `PackageError` if the package is damaged or forged, `SourceError` if its weights cannot be had.
    """
    fetcher = Fetcher(store)
    try:
        model = begin(package_dir, fetcher=fetcher)
        try:
            model.wait()
        except BaseException:
            model.close()
            raise
        return model
    finally:
        fetcher.close()


def begin(
    package_dir: Path, *, fetcher: Fetcher, own: Path | None = None, urgency: Urgency = Urgency.REQUEST
) -> LiveModel:
    """Load the structure of a package and have its weights brought; a run waits for what it needs of them.

    `own` is where compiled programs are kept if the store may only be read. Raises `PackageError` if the package is
    damaged or forged, `SourceError` if its weights can never be had.
    """
    prepared = structure(package_dir, store=fetcher.store, own=own)
    return LiveModel(prepared, bringing(prepared, package_dir, fetcher=fetcher, urgency=urgency), bind)


def bringing(prepared: Prepared, package_dir: Path, *, fetcher: Fetcher, urgency: Urgency) -> Bring:
    """What has the weights of a package brought, each time that it is called."""
    location = prepared.weights.uri if prepared.weights.uri is not None else package_dir / WEIGHTS_FILE
    return partial(fetcher.begin, prepared.weights, location, spans=prepared.spans, urgency=urgency)


def structure(package_dir: Path, *, store: Store, own: Path | None = None) -> Prepared:
    """Only the structure of a package: what can be had before, and without, its weights."""
    return prepare(package_dir / MODEL_FILE, *caches(store, own))


def caches(store: Store, own: Path | None) -> list[Path]:
    """The folders for what is worked out of packages: the store's, and `own`'s if that may only be read."""
    return [root / COMPILED for root in (store.root, own) if root is not None]


def bind(prepared: Prepared, arrival: Arrival) -> Bound:
    """One tensor for each weight, all of them in one read-only mapping of the file, there or on its way."""
    mapping = WeightsMapping(prepared.weights.size)
    mapping.show(arrival.descriptor, prepared.weights.size)
    return Bound(mapping, mapping.views(prepared.views))
