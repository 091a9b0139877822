"""What a change of OpenWhisk's database means for the models that are registered.

One rule: an action is looked at as it is now, once, however often it changed. One whose code cannot be had, though
the database answers otherwise, is tried a few times and then left without plans, so that it does not hold up others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from instar_controller.clients.roll import Roll
from instar_controller.clients.weights import MODEL
from instar_controller.cluster_ports import Change, Entities
from instar_controller.engines.registrar import Registrar, Stored
from instar_controller.errors import MalformedError, NotFoundError, StoreError, TooLargeError
from instar_controller.whisk import parameters, stored_action
from instar_controller.whisk.manifest import Manifest
from instar_controller.whisk.parameters import Parameters
from instar_controller.whisk.stored_action import StoredAction
from instar_controller.whisk.stored_code import Attachment
from instar_controller.whisk.values import Json, JsonObject

logger = logging.getLogger(__name__)

TRIES = 4  # to read the code of an action


class WhiskActions:
    """Hands actions of these kinds to a registrar. For one thread."""

    def __init__(
        self, entities: Entities, registrar: Registrar, *, manifest: Manifest, kinds: Collection[str]
    ) -> None:
        self._entities = entities
        self._registrar = registrar
        self._manifest = manifest
        self._kinds = frozenset(kinds)
        self._failures: Counter[str] = Counter()
        self._unread: list[_UnreadableError] = []  # since the changes were told

    def restore(self, roll: Roll) -> None:
        """Register what was known before, without looking at the actions. Raises `StoreError`."""
        self._unread.clear()
        for entry in roll.entries:
            try:
                self._registrar.take(
                    Stored(entry.action, entry.revision, entry.location, _Lost(entry.action).read, entry.code)
                )
            except _LostError:  # its models are not kept any more
                self._look_again(entry.action, {})
        self._tell_unread()

    def take(self, changes: Sequence[Change]) -> None:
        """These documents have changed. Raises `StoreError`; then all of it is to be told again."""
        self._unread.clear()
        packages: dict[str, Parameters] = {}  # parameters by id, read once
        for change in changes:
            self._take(change, packages)
        self._tell_unread()

    def strike_others(self, seen: Collection[str]) -> None:
        """Only these actions are left."""
        for entry in self._registrar.enrolment.entries:
            if entry.action not in seen:
                self._registrar.strike(entry.action)

    def _take(self, change: Change, packages: dict[str, Parameters]) -> None:
        document = change.document
        if document is not None and "binding" in document:
            self._look_into_package(change.id, packages)
            return
        if document is None or stored_action.kind(document) not in self._kinds:
            self._registrar.strike(change.id)  # where it is no action of ours, this does nothing
            return
        try:
            self._take_action(document, packages)
            self._failures.pop(change.id, None)
        except (MalformedError, NotFoundError, TooLargeError) as error:
            logger.warning("the models of %s get no plans: %s", change.id, error)
            self._registrar.strike(change.id)
        except _UnreadableError as error:
            self._failures[change.id] += 1
            if self._failures[change.id] < TRIES:
                self._unread.append(error)
                return
            logger.error("the models of %s get no plans: %s", change.id, error)
            self._failures.pop(change.id)
            self._registrar.strike(change.id)
        except StoreError:  # a database is not there, which is not this action's fault
            raise
        except Exception:  # a mistake of ours about one action must not cost the others their plans
            logger.exception("the models of %s get no plans", change.id)
            self._registrar.strike(change.id)

    def _tell_unread(self) -> None:
        if self._unread:
            raise StoreError(f"the code of {len(self._unread)} actions cannot be read: {self._unread[0]}")

    def _take_action(self, document: JsonObject, packages: dict[str, Parameters]) -> None:
        stored = stored_action.parse(document, self._manifest)
        action = stored.action
        given = _unlocked(document, action.parameters)
        if action.package:
            given = parameters.merge(self._package(f"{action.namespace}/{action.package}", packages), given)
        self._registrar.take(
            Stored(
                stored.id,
                stored.revision,
                self._registrar.location(given),
                lambda: self._archive(stored),
                _code_of(document, stored),
            )
        )

    def _look_into_package(self, id: str, packages: dict[str, Parameters]) -> None:
        """The parameters of a package may say where the model of an action of it lies."""
        packages.pop(id, None)
        for entry in self._registrar.enrolment.entries:
            if entry.action.startswith(f"{id}/"):
                self._look_again(entry.action, packages)

    def _look_again(self, id: str, packages: dict[str, Parameters]) -> None:
        try:
            document: JsonObject | None = self._entities.get(id)
        except NotFoundError:
            document = None
        self._take(Change(id, "", document is None, document), packages)

    def _package(self, id: str, packages: dict[str, Parameters]) -> Parameters:
        if id not in packages:
            try:
                document = self._entities.get(id)
                listed = document.get("parameters") or []
                packages[id] = _unlocked(document, parameters.parse(listed, what=f"the package {id}"))
            except (NotFoundError, MalformedError):
                packages[id] = ()
        return packages[id]

    def _archive(self, stored: StoredAction) -> str:
        """The action's code in base64, "" if it is no archive. Raises `NotFoundError`, `StoreError`,
        `MalformedError`, and `_UnreadableError`."""
        if not stored.action.exec.binary:
            return ""
        try:
            name = stored.needs
        except StoreError as error:  # it is kept where we never get to
            raise MalformedError(str(error)) from error
        if name is None:
            return stored.action.exec.code
        try:
            data = self._entities.attachment(stored.id, name, revision=stored.revision)
        except StoreError as error:
            self._entities.get(stored.id)  # raises if nothing can be read at all
            raise _UnreadableError(str(error)) from error
        return stored.with_code(data).exec.code


class _UnreadableError(Exception):
    """This action's code cannot be read, though its database answers otherwise."""


class _LostError(Exception):
    """The models of an action that was known before are not kept any more."""


class _Lost:
    """In the place of an archive that is not to be read."""

    def __init__(self, action: str) -> None:
        self._action = action

    def read(self) -> str:
        raise _LostError(self._action)


def _code_of(document: JsonObject, stored: StoredAction) -> str | None:
    """What tells this archive from others: CouchDB's digest of an attachment, or where the code itself is kept."""
    if not isinstance(stored.code, Attachment):
        return None
    attachments = document.get("_attachments")
    if isinstance(attachments, Mapping) and len(attachments) == 1:
        (attachment,) = attachments.values()
        digest = attachment.get("digest") if isinstance(attachment, Mapping) else None
        if isinstance(digest, str):
            return digest
    return stored.code.digest or stored.code.uri


def _unlocked(document: JsonObject, given: Parameters) -> Parameters:
    """Those that can be read: what is locked is locked for us, too, and names no place."""
    listed: Json = document.get("parameters")
    locked = {
        str(item.get("key"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, Mapping) and item.get("encryption")
    }
    if MODEL in locked:
        logger.warning("the model that %s names by a locked %s gets no plans", document.get("_id"), MODEL)
    return tuple(each for each in given if each.key not in locked)
