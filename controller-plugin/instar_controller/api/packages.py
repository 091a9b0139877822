"""Packages and bindings: create, update, show, list, delete.

One rule: a package with something in it is deleted only by force, and then with everything in it.
"""

from __future__ import annotations

from flask import Response

from instar_controller.api import bodies, entitlement, queries, references
from instar_controller.api.answers import json_answer
from instar_controller.api.catalogue import Catalogue
from instar_controller.api.routing import NAMESPACE, Router
from instar_controller.api.services import Services
from instar_controller.errors import ConflictError, NotFoundError, RefusedError
from instar_controller.whisk import names, parameters
from instar_controller.whisk import package as documents
from instar_controller.whisk.document import Collection, Key
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.package import Binding, Package

ONE = f"{NAMESPACE}/packages/<name>"


class Packages:
    """The routes of packages."""

    def __init__(self, services: Services, catalogue: Catalogue) -> None:
        self._services = services
        self._catalogue = catalogue

    def register(self, router: Router) -> None:
        for rule in (f"{NAMESPACE}/packages", f"{NAMESPACE}/packages/"):
            router.protected("GET", rule, self.list)
        router.protected("GET", ONE, self.get)
        router.protected("PUT", ONE, self.put)
        router.protected("DELETE", ONE, self.delete)

    def list(self, caller: Identity, namespace: str) -> Response:
        owner = names.resolve_namespace(namespace, own=caller.namespace)
        page = queries.page("packages")
        shown = self._catalogue.packages(owner)
        if owner != caller.namespace:
            shown = [package for package in shown if package.publish and package.binding is None]
        rest = shown[page.skip :]
        if queries.flag("count", default=False):
            return json_answer({"packages": len(rest)})
        return json_answer([package.to_summary() for package in rest[: page.limit]])

    def get(self, caller: Identity, namespace: str, name: str) -> Response:
        key = references.package_key(caller, namespace, name)
        package = references.readable_package(caller, key, self._catalogue)
        if package.binding is None:
            return json_answer(package.to_json_with(self._catalogue.actions(key.namespace, package=key.name)))
        bound = references.readable_package(caller, package.binding.key, self._catalogue)
        actions = self._catalogue.actions(bound.namespace, package=bound.name)
        merged = parameters.merge(bound.parameters, package.parameters)
        shown = package.to_json_with(actions)
        return json_answer({**shown, "parameters": parameters.to_json(merged)})

    def put(self, caller: Identity, namespace: str, name: str) -> Response:
        key = references.package_key(caller, namespace, name)
        overwrite = queries.flag("overwrite", default=False)
        entitlement.require_own(caller, key.namespace, key.name)
        if key.name == documents.RESERVED_NAME:
            raise RefusedError(f"Package name '{key.name}' is reserved.")
        wanted = documents.parse_put(bodies.read_json(), own=caller.namespace)
        documents.check_sizes(wanted, self._services.limits)
        if wanted.binding is not None:
            self._check_bindable(caller, wanted.binding)
        new, replaces = self._merge(key, wanted, overwrite)
        self._catalogue.put_package(new, replaces=replaces)
        return json_answer(new.to_json())

    def _merge(self, key: Key, wanted: documents.PackagePut, overwrite: bool) -> tuple[Package, int | None]:
        now_ms = self._services.clock.now_ms()
        old = self._catalogue.find_package(key)
        if old is None:
            return documents.create(wanted, key, now_ms=now_ms), None
        if not overwrite:
            raise ConflictError("resource already exists")
        return documents.update(old.package, wanted, now_ms=now_ms), old.revision

    def _check_bindable(self, caller: Identity, binding: Binding) -> None:
        try:
            target = references.readable_package(caller, binding.key, self._catalogue)
        except NotFoundError:
            raise RefusedError("Binding references a package that does not exist.") from None
        if target.binding is not None:
            raise RefusedError("Cannot bind to another package binding.")

    def delete(self, caller: Identity, namespace: str, name: str) -> Response:
        key = references.package_key(caller, namespace, name)
        force = queries.flag("force", default=False)
        entitlement.require_own(caller, key.namespace, key.name)
        stored = self._catalogue.package(key)
        # A binding owns nothing: what lies in the package it names is not its to count or delete.
        if stored.package.binding is None:
            self._empty(key, force)
        self._catalogue.delete(key, revision=stored.revision)
        return json_answer(stored.package.to_json())

    def _empty(self, key: Key, force: bool) -> None:
        count = self._catalogue.count_actions(key.namespace, package=key.name)
        if count and not force:
            entities = "entity" if count == 1 else "entities"
            raise ConflictError(
                f"Package not empty (contains {count} {entities}). Set force param or delete package contents."
            )
        for action in self._catalogue.actions(key.namespace, package=key.name):
            inner = Key(Collection.ACTIONS, action.namespace, action.name, action.package)
            self._catalogue.delete(inner, revision=self._catalogue.action(inner).revision)
