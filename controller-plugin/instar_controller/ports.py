"""What the API and the engines need from the outside world and from each other, in our words.

One rule: a port has few methods and promises only what both of its makers keep (one contract suite runs
over each). Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.invocation import Invocation


@dataclass(frozen=True, slots=True)
class ActivationQuery:
    """Which activations of a namespace a list shows: newest first, `start` between `since_ms` and
    `upto_ms`.
    """

    namespace: str
    name: str | None = None  # `[pkg/]name`
    since_ms: int | None = None
    upto_ms: int | None = None


class Store(Protocol):
    """Documents and activation records, safe for several threads.

    What a `put` or `delete` has returned from survives the process, however that ends. Every method may raise
    `StoreError`.
    """

    def get(self, key: Key) -> Document:
        """The document without its code. Raises `NotFoundError`."""

    def get_code(self, key: Key, revision: int) -> str:
        """The code of that very revision. Raises `NotFoundError` if it has been replaced or deleted
        meanwhile.
        """

    def put(self, document: Document, *, replaces: int | None) -> int:
        """Write a document, whole, if the stored one still has the revision `replaces` (None: if there is
        none).

        Returns the new revision, which no other document ever had. Raises `ConflictError`.
        """

    def delete(self, key: Key, *, revision: int) -> None:
        """Delete a document if it still has that revision. Raises `NotFoundError` or `ConflictError`."""

    def list(
        self,
        collection: Collection,
        namespace: str,
        *,
        package: str | None = None,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Document]:
        """Documents without their code, latest update first; `package` None means all of the namespace."""

    def count(self, collection: Collection, namespace: str, *, package: str | None = None) -> int:
        """How many documents `list` would return without `skip` and `limit`."""

    def put_activation(self, activation: Activation) -> None:
        """Write a record, whole; a record of the same id is replaced (for instance to add its logs)."""

    def get_activation(self, namespace: str, activation_id: ActivationId) -> Activation:
        """One record. Raises `NotFoundError`."""

    def list_activations(self, query: ActivationQuery, *, skip: int, limit: int) -> Sequence[Activation]:
        """The records that `query` selects, newest start first."""

    def count_activations(self, query: ActivationQuery) -> int:
        """How many records `query` selects."""

    def close(self) -> None:
        """Let go of the files. Nothing may be called afterwards."""


class Invocations(Protocol):
    """Carries invocations out."""

    def submit(self, invocation: Invocation) -> Future[Activation]:
        """Take an invocation on. From here on exactly one completion is owed: the future gets the finished
        record.

        The record that the future gets may still be without logs; the record with its logs is put into the
        store by whoever carries the invocation out. Raises `OverloadedError` if there is no capacity: then
        nothing is owed.
        """

    def invokers(self) -> Mapping[str, str]:
        """The state of each invoker by its name: `up`, `unhealthy`, `unresponsive` or `down`."""


class Clock(Protocol):
    """The time of day."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
