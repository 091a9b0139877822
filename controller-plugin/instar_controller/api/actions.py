"""Actions: create, update, show, list, delete.

One rule: the document logic is `whisk.action`'s; here a request is read, its caller's right is checked, and
the new document is written if nobody else has written meanwhile.
"""

from __future__ import annotations

from flask import Response

from instar_controller.api import bodies, entitlement, queries, references
from instar_controller.api.answers import json_answer
from instar_controller.api.catalogue import Catalogue
from instar_controller.api.routing import NAMESPACE, Router
from instar_controller.api.services import Services
from instar_controller.errors import ConflictError, RefusedError
from instar_controller.whisk import action as documents
from instar_controller.whisk import names
from instar_controller.whisk.document import Collection, Key
from instar_controller.whisk.identity import Identity

PLAIN = f"{NAMESPACE}/actions/<name>"
PACKAGED = f"{NAMESPACE}/actions/<package>/<name>"


class Actions:
    """The routes of actions."""

    def __init__(self, services: Services, catalogue: Catalogue) -> None:
        self._services = services
        self._catalogue = catalogue

    def register(self, router: Router) -> None:
        for rule in (f"{NAMESPACE}/actions", f"{NAMESPACE}/actions/"):
            router.protected("GET", rule, self.list)
        router.protected("GET", f"{NAMESPACE}/actions/<package>/", self.list_package)
        for rule in (PLAIN, PACKAGED):
            router.protected("GET", rule, self.get)
            router.protected("PUT", rule, self.put)
            router.protected("DELETE", rule, self.delete)

    def list(self, caller: Identity, namespace: str) -> Response:
        owner = names.resolve_namespace(namespace, own=caller.namespace)
        entitlement.require_own(caller, owner)
        return self._list(owner, None)

    def list_package(self, caller: Identity, namespace: str, package: str) -> Response:
        key = references.package_key(caller, namespace, package)
        named = references.readable_package(caller, key, self._catalogue)
        if named.binding is not None:
            named = references.readable_package(caller, named.binding.key, self._catalogue)
        return self._list(named.namespace, named.name)

    def _list(self, owner: str, package: str | None) -> Response:
        page = queries.page("actions")
        if queries.flag("count", default=False):
            count = self._catalogue.count_actions(owner, package=package)
            return json_answer({"actions": max(0, count - page.skip)})
        found = self._catalogue.actions(owner, package=package, skip=page.skip, limit=page.limit)
        return json_answer([action.to_summary() for action in found])

    def get(self, caller: Identity, namespace: str, name: str, package: str = "") -> Response:
        key = references.action_key(caller, namespace, package, name)
        with_code = queries.flag("code", default=True)
        place = references.locate(caller, key, self._catalogue)
        if not with_code:
            shown = place.merged(self._catalogue.action_without_code(place.key))
            return json_answer(shown.to_json_without_code())
        return json_answer(place.merged(self._catalogue.action(place.key).action).to_json())

    def put(self, caller: Identity, namespace: str, name: str, package: str = "") -> Response:
        key = references.action_key(caller, namespace, package, name)
        overwrite = queries.flag("overwrite", default=False)
        self._require_writable(caller, key)
        limits, now_ms = self._services.limits, self._services.clock.now_ms()
        wanted = documents.parse_put(bodies.read_json(), self._services.manifest)
        if wanted.exec is not None:
            entitlement.require_kind(caller, wanted.exec.kind)
        documents.check_sizes(wanted, limits)
        old = self._catalogue.find_action(key)
        if old is None:
            new = documents.create(wanted, key, limits=limits, now_ms=now_ms)
        elif overwrite:
            new = documents.update(old.action, wanted, limits=limits, now_ms=now_ms)
        else:
            raise ConflictError("resource already exists")
        self._catalogue.put_action(new, replaces=None if old is None else old.revision)
        return json_answer(new.to_json())

    def delete(self, caller: Identity, namespace: str, name: str, package: str = "") -> Response:
        key = references.action_key(caller, namespace, package, name)
        self._require_writable(caller, key)
        stored = self._catalogue.action(key)
        self._catalogue.delete(key, revision=stored.revision)
        return json_answer(stored.action.to_json())

    def _require_writable(self, caller: Identity, key: Key) -> None:
        path = (key.package, key.name) if key.package else (key.name,)
        entitlement.require_own(caller, key.namespace, *path)
        if key.package:
            package = self._catalogue.package(Key(Collection.PACKAGES, key.namespace, key.package)).package
            if package.binding is not None:
                raise RefusedError("Operation not permitted on package binding.")
