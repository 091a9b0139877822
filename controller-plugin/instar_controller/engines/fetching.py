"""The actions that activations name, from OpenWhisk's database, at their revisions, and the last ones kept.

One rule: what was kept is used only for the very revision that is asked for. Whoever asks for no revision gets the
latest, read now. Those who ask for the same one at the same time read it once. What is wrong with an action is an
answer, in OpenWhisk's words, and never an error.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from instar_controller.cluster_ports import Entities
from instar_controller.errors import MalformedError, NotFoundError, StoreError
from instar_controller.whisk import stored_action
from instar_controller.whisk.action import Action
from instar_controller.whisk.manifest import Manifest
from instar_controller.whisk.response import ERROR, Response, Status

logger = logging.getLogger(__name__)

NOT_FOUND = "Action could not be found or may have been deleted."
INCOMPATIBLE = "Action version is not compatible and cannot be invoked."
NOT_FETCHED = "Action could not be fetched."
SEQUENCE = "sequence"  # a controller runs it, step by step; it is no code
OVERHEAD_BYTES = 2048  # of an action without its code


@dataclass(frozen=True, slots=True)
class Fetched:
    """An action with its code, as it is at a revision."""

    revision: str
    action: Action

    @property
    def size_bytes(self) -> int:
        return OVERHEAD_BYTES + len(self.action.exec.code)


@dataclass(frozen=True, slots=True)
class Unfetched:
    """Why there is no action to run, as its caller gets to see it."""

    response: Response


class Actions:
    """Fetches and keeps. Safe for several threads."""

    def __init__(self, entities: Entities, manifest: Manifest, *, max_bytes: int = 256 << 20) -> None:
        self._entities = entities
        self._manifest = manifest
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # for what follows
        self._kept: OrderedDict[str, Fetched] = OrderedDict()  # by the document's id, least recently used first
        self._kept_bytes = 0
        self._reading: dict[tuple[str, str], Future[Fetched | Unfetched]] = {}

    def known(self, id: str, revision: str | None) -> Fetched | None:
        """The action of this document if it is kept at this revision. Never waits."""
        with self._lock:
            kept = self._kept.get(id)
            if kept is None or kept.revision != revision:
                return None
            self._kept.move_to_end(id)
            return kept

    def fetch(self, id: str, revision: str | None) -> Fetched | Unfetched:
        """The action of this document at this revision; if that is not there any more, or None, at the latest one.
        May wait for the database; never raises.
        """
        if revision is None:
            return self._read_safely(id, None)
        if (kept := self.known(id, revision)) is not None:
            return kept
        with self._lock:
            reading = self._reading.get((id, revision))
            if reading is None:
                mine: Future[Fetched | Unfetched] = Future()
                self._reading[id, revision] = mine
        if reading is not None:
            return reading.result()
        found = self._read_safely(id, revision)
        with self._lock:
            del self._reading[id, revision]
            if isinstance(found, Fetched):
                self._keep(id, found)
        mine.set_result(found)
        return found

    def _read_safely(self, id: str, revision: str | None) -> Fetched | Unfetched:
        try:
            return self._read(id, revision)
        except NotFoundError:
            return _failed(Status.APPLICATION_ERROR, NOT_FOUND)
        except MalformedError as error:
            logger.warning("action %s cannot be run: %s", id, error)
            return _failed(Status.WHISK_ERROR, INCOMPATIBLE)
        except StoreError as error:
            logger.error("action %s cannot be fetched: %s", id, error)
            return _failed(Status.WHISK_ERROR, NOT_FETCHED)
        except Exception:  # a mistake of ours must not cost anybody the answer
            logger.exception("action %s cannot be fetched", id)
            return _failed(Status.WHISK_ERROR, NOT_FETCHED)

    def _read(self, id: str, revision: str | None) -> Fetched | Unfetched:
        """Raises `NotFoundError`, `MalformedError` and `StoreError`."""
        try:
            document = self._entities.get(id, revision=revision)
        except NotFoundError:
            if revision is None:
                raise
            document = self._entities.get(id)
        if stored_action.kind(document) == SEQUENCE:
            logger.error("action %s is a sequence, which is not to be run as one", id)
            return _failed(Status.WHISK_ERROR, NOT_FETCHED)
        stored = stored_action.parse(document, self._manifest)
        if (attachment := stored.needs) is None:
            return Fetched(stored.revision, stored.action)
        code = self._entities.attachment(id, attachment, revision=stored.revision)
        return Fetched(stored.revision, stored.with_code(code))

    def _keep(self, id: str, found: Fetched) -> None:
        old = self._kept.pop(id, None)
        if old is not None:
            self._kept_bytes -= old.size_bytes
        self._kept[id] = found
        self._kept_bytes += found.size_bytes
        while self._kept_bytes > self._max_bytes:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= gone.size_bytes

    def __repr__(self) -> str:
        return f"<Actions: {len(self._kept)} kept, {self._kept_bytes} bytes>"


def _failed(status: Status, error: str) -> Unfetched:
    return Unfetched(Response(status, {ERROR: error}))
