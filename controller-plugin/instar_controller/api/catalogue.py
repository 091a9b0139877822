"""Actions and packages as values, over the store: how the routes read and write them.

One rule: an action is never seen with the code of another revision. The code of the last actions that were
invoked is kept in memory, since reading some megabytes of it for every warm call would cost more than the
call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instar_controller.errors import NotFoundError
from instar_controller.ports import Store
from instar_controller.whisk import action as actions
from instar_controller.whisk import package as packages
from instar_controller.whisk.action import Action
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.package import Package

CACHED_CODE_CHARACTERS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredAction:
    """An action, whole, with its revision in the store."""

    action: Action
    revision: int


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """A package with its revision in the store."""

    package: Package
    revision: int


class Catalogue:
    """Reads and writes entities. Safe for several threads.

    `on_change` is told the key of what was written or deleted, by the thread that did it, after it is done.
    """

    def __init__(
        self,
        store: Store,
        cached_characters: int = CACHED_CODE_CHARACTERS,
        *,
        on_change: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_change = on_change
        self._codes = _Codes(cached_characters)

    def action(self, key: Key) -> StoredAction:
        """One action with its code. Raises `NotFoundError`."""
        while True:
            document = self._store.get(key)
            code = self._codes.get(document.revision)
            if code is None:
                try:
                    code = self._store.get_code(key, document.revision)
                except NotFoundError:
                    continue  # replaced between the two reads: look again; if it was deleted, `get` says so
                self._codes.put(document.revision, code)
            return StoredAction(actions.from_document(document, code=code), document.revision)

    def action_without_code(self, key: Key) -> Action:
        """One action to show without its code. Raises `NotFoundError`."""
        return actions.from_document(self._store.get(key), code="")

    def find_action(self, key: Key) -> StoredAction | None:
        try:
            return self.action(key)
        except NotFoundError:
            return None

    def actions(
        self, namespace: str, *, package: str | None, skip: int = 0, limit: int | None = None
    ) -> Sequence[Action]:
        """Actions without their code, latest update first; `package` None means all of the namespace."""
        documents = self._store.list_documents(Collection.ACTIONS, namespace, package=package, skip=skip, limit=limit)
        return [actions.from_document(document, code="") for document in documents]

    def count_actions(self, namespace: str, *, package: str | None) -> int:
        return self._store.count_documents(Collection.ACTIONS, namespace, package=package)

    def put_action(self, action: Action, *, replaces: int | None) -> None:
        """Raises `ConflictError`."""
        self._put(action.to_document(), replaces)

    def package(self, key: Key) -> StoredPackage:
        """One package. Raises `NotFoundError`."""
        document = self._store.get(key)
        return StoredPackage(packages.from_document(document), document.revision)

    def find_package(self, key: Key) -> StoredPackage | None:
        try:
            return self.package(key)
        except NotFoundError:
            return None

    def packages(self, namespace: str) -> Sequence[Package]:
        """All packages of a namespace, latest update first."""
        documents = self._store.list_documents(Collection.PACKAGES, namespace)
        return [packages.from_document(document) for document in documents]

    def put_package(self, package: Package, *, replaces: int | None) -> None:
        """Raises `ConflictError`."""
        self._put(package.to_document(), replaces)

    def delete(self, key: Key, *, revision: int) -> None:
        """Raises `NotFoundError` or `ConflictError`."""
        self._store.delete(key, revision=revision)
        self._on_change(key)

    def _put(self, document: Document, replaces: int | None) -> None:
        self._store.put(document, replaces=replaces)
        self._on_change(document.key)


class _Codes:
    """The code of some revisions, least recently used out first. A revision's code never changes."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._lock = threading.Lock()
        self._characters = 0
        self._codes: OrderedDict[int, str] = OrderedDict()

    def get(self, revision: int) -> str | None:
        with self._lock:
            code = self._codes.get(revision)
            if code is not None:
                self._codes.move_to_end(revision)
            return code

    def put(self, revision: int, code: str) -> None:
        with self._lock:
            if revision in self._codes or len(code) > self._max_characters:
                return
            self._codes[revision] = code
            self._characters += len(code)
            while self._characters > self._max_characters:
                _, dropped = self._codes.popitem(last=False)
                self._characters -= len(dropped)
