"""The store and the weights in memory: the twins of `disk` and `weights`, with the same promises but the one about
surviving.

One rule: whatever `disk` refuses, this refuses, with the same error. It is for tests and for servers that
are to forget everything.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from instar_controller.clients.retention import DEFAULT, Retention
from instar_controller.errors import ConflictError, NotFoundError
from instar_controller.ports import ActivationQuery
from instar_controller.whisk.action import Action
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import CONCURRENT_CHANGE, Collection, Document, Key
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.weights import Amounts


class MemoryStore:
    """A `Store` in dictionaries behind one lock."""

    def __init__(self, retention: Retention = DEFAULT) -> None:
        self._retention = retention
        self._lock = threading.Lock()
        self._revisions = itertools.count(1)
        self._documents: dict[Key, Document] = {}
        self._activations: dict[tuple[str, ActivationId], Activation] = {}

    def get(self, key: Key) -> Document:
        with self._lock:
            return replace(self._document(key), code=None)

    def get_code(self, key: Key, revision: int) -> str:
        with self._lock:
            document = self._document(key)
        if document.revision != revision or document.code is None:
            raise NotFoundError
        return document.code

    def put(self, document: Document, *, replaces: int | None) -> int:
        with self._lock:
            stored = self._documents.get(document.key)
            if (None if stored is None else stored.revision) != replaces:
                raise ConflictError(CONCURRENT_CHANGE)
            revision = next(self._revisions)
            self._documents[document.key] = replace(document, revision=revision)
            return revision

    def delete(self, key: Key, *, revision: int) -> None:
        with self._lock:
            if self._document(key).revision != revision:
                raise ConflictError(CONCURRENT_CHANGE)
            del self._documents[key]

    def list_documents(
        self,
        collection: Collection,
        namespace: str,
        *,
        package: str | None = None,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Document]:
        end = None if limit is None else skip + limit
        found = self._select(collection, namespace, package)[skip:end]
        return [replace(document, code=None) for document in found]

    def count_documents(self, collection: Collection, namespace: str, *, package: str | None = None) -> int:
        return len(self._select(collection, namespace, package))

    def put_activation(self, activation: Activation) -> None:
        with self._lock:
            self._activations[activation.namespace, activation.activation_id] = activation
            if len(self._activations) > self._retention.max_records + self._retention.slack:
                newest = sorted(self._activations.values(), key=_newest_first)[: self._retention.max_records]
                self._activations = {(kept.namespace, kept.activation_id): kept for kept in newest}

    def get_activation(self, namespace: str, activation_id: ActivationId) -> Activation:
        with self._lock:
            found = self._activations.get((namespace, activation_id))
        if found is None:
            raise NotFoundError
        return found

    def list_activations(self, query: ActivationQuery, *, skip: int, limit: int) -> Sequence[Activation]:
        found = sorted(self._matching(query), key=_newest_first)
        return [activation.without_bulk() for activation in found[skip : skip + limit]]

    def count_activations(self, query: ActivationQuery) -> int:
        return len(self._matching(query))

    def close(self) -> None:
        """Nothing to let go of."""

    def _document(self, key: Key) -> Document:
        document = self._documents.get(key)
        if document is None:
            raise NotFoundError
        return document

    def _select(self, collection: Collection, namespace: str, package: str | None) -> list[Document]:
        with self._lock:
            documents = list(self._documents.values())
        found = [
            document
            for document in documents
            if document.key.collection is collection
            and document.key.namespace == namespace
            and package in (None, document.key.package)
        ]
        return sorted(found, key=lambda document: (-document.updated_ms, -document.revision))

    def _matching(self, query: ActivationQuery) -> list[Activation]:
        with self._lock:
            activations = list(self._activations.values())
        return [activation for activation in activations if _matches(activation, query)]


@dataclass(frozen=True, slots=True)
class MemoryDelivery:
    """Of weights that were there at once."""

    found: Amounts | None

    def amounts(self) -> Amounts | None:
        return self.found

    def lean_code(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryWeights:
    """`Weights` that arrive the moment they are sent for: so many bytes for each revision of an action that is named.

    Without any names it is the one of a node that keeps no weights for its containers.
    """

    def __init__(self, sizes: Mapping[int, int] | None = None) -> None:
        self._missing = dict(sizes or {})
        self._present: dict[int, int] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def begin(self, invocation: Invocation) -> MemoryDelivery:
        revision = invocation.revision
        with self._lock:
            if revision in self._present:
                return MemoryDelivery(Amounts(self._present[revision], 0))
            if revision not in self._missing or self._is_closed:
                return MemoryDelivery(None)
            self._present[revision] = self._missing.pop(revision)
            return MemoryDelivery(Amounts(0, self._present[revision]))

    def prepare(self, action: Action, revision: int | str, read_code: Callable[[], str]) -> None:
        """No archive has any here."""

    def close(self) -> None:
        with self._lock:
            self._is_closed = True


def _newest_first(activation: Activation) -> tuple[int, str]:
    return (-activation.start, activation.activation_id)


def _matches(activation: Activation, query: ActivationQuery) -> bool:
    return (
        activation.namespace == query.namespace
        and query.name in (None, activation.qualified_name)
        and (query.since_ms is None or activation.start >= query.since_ms)
        and (query.upto_ms is None or activation.start <= query.upto_ms)
    )
