"""Nodes that have weights brought to their store, and sources with something to bring."""

from __future__ import annotations

import threading
from pathlib import Path

import parcels
from parcels import Parcel, parcel
from tests.runtime.source import Source

from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.retry import Patience
from instar.weights.store import Store
from instar_controller.clients.weights import StoreDelivery, StoreWeights
from instar_controller.whisk.invocation import Invocation

WAIT_S = 60.0  # for anything that is sure to happen
KIND = "pytorch:2"


class Node:
    """A node's store and who fills it; `send_for` returns when its thread has done all that it does."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.store = Store(root)
        patience = Patience(first_s=0.01, longest_s=0.01, failures=2, deadline_s=WAIT_S)
        self._fetcher = Fetcher(self.store, patience=patience)
        self.weights = StoreWeights(self._fetcher, kinds=[KIND], environment=environment, credentials={})
        self._watcher = Fetcher(self.store, patience=patience)

    def send_for(self, invocation: Invocation) -> StoreDelivery:
        delivery = self.weights.begin(invocation)
        self.join()
        return delivery

    def join(self) -> None:
        """Return when its threads have done all that they do, which no source can hold up."""
        for thread in threading.enumerate():
            if thread.name == "instar-weights":
                thread.join(WAIT_S)
                assert not thread.is_alive(), "somebody holds it up"

    def wait_for(self, sent: Parcel) -> None:
        """Return when all of it is there, whoever brings it."""
        arrival = self.watch(sent)
        arrival.wait_all()
        arrival.close()

    def settle(self) -> None:
        """Return when what has arrived has its place."""
        self._fetcher.settle()
        self._watcher.settle()

    def watch(self, sent: Parcel) -> Arrival:
        assert sent.weights.uri is not None
        return self._watcher.begin(sent.weights, sent.weights.uri)

    def knows(self, sent: Parcel) -> bool:
        """Whether the store has anything of it."""
        digest = sent.weights.digest
        # In this order: it may just be moving from the one place to the other.
        return self.store.incoming(digest).exists() or self.store.place(digest).exists()

    def close(self) -> None:
        self.weights.close()
        self._watcher.close()


def put(source: Source, name: str, seed: int = 0) -> Parcel:
    made = parcel(uri=f"{source.url}/{name}", seed=seed)
    (source.folder / name).write_bytes(made.data)
    return made


def put_sibling(source: Source, name: str, sibling: Parcel) -> Parcel:
    """Another file with the same tensor: only its last byte differs."""
    made = parcels.of(sibling.data[:-1] + bytes([sibling.data[-1] ^ 1]), uri=f"{source.url}/{name}")
    (source.folder / name).write_bytes(made.data)
    return made
