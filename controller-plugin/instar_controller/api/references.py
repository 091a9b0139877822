"""How a path finds its action: in the default package, in a package, or through a binding of one.

One rule: what it returns may be read and invoked by the caller, with the parameters of everything on the way
merged: package before binding before action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from instar_controller.api import entitlement
from instar_controller.api.catalogue import Catalogue
from instar_controller.errors import NotFoundError
from instar_controller.whisk import names, parameters
from instar_controller.whisk.action import Action
from instar_controller.whisk.document import Collection, Key
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.package import Package
from instar_controller.whisk.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Place:
    """Where an action lies. `inherited` is what packages give it; `binding` is set where one was passed."""

    key: Key
    inherited: Parameters = ()
    binding: str | None = None

    def merged(self, action: Action) -> Action:
        """`action` with what it inherits."""
        return replace(action, parameters=parameters.merge(self.inherited, action.parameters))


def action_key(caller: Identity, namespace: str, package: str, name: str) -> Key:
    """The key that a path names, its names checked. Raises `MalformedError`."""
    owner = names.resolve_namespace(namespace, own=caller.namespace)
    return Key(Collection.ACTIONS, owner, names.check(name), names.check(package) if package else "")


def package_key(caller: Identity, namespace: str, name: str) -> Key:
    """The key that a path names, its names checked. Raises `MalformedError`."""
    owner = names.resolve_namespace(namespace, own=caller.namespace)
    return Key(Collection.PACKAGES, owner, names.check(name))


def locate(caller: Identity, key: Key, catalogue: Catalogue) -> Place:
    """Where the action of `key` lies. Raises `ForbiddenError` or `NotFoundError`."""
    if not key.package:
        entitlement.require_own(caller, key.namespace, key.name)
        return Place(key)
    named = readable_package(caller, Key(Collection.PACKAGES, key.namespace, key.package), catalogue, key.name)
    if named.binding is None:
        return Place(key, named.parameters)
    bound = readable_package(caller, named.binding.key, catalogue, key.name)
    return Place(
        Key(Collection.ACTIONS, bound.namespace, key.name, bound.name),
        parameters.merge(bound.parameters, named.parameters),
        named.full_name,
    )


def readable_package(caller: Identity, key: Key, catalogue: Catalogue, *path: str) -> Package:
    """A package that the caller may read. Raises `ForbiddenError` or `NotFoundError`.

    Another namespace's package that does not exist is refused as one that is not shared: nobody learns from
    the difference what others have.
    """
    stored = catalogue.find_package(key)
    if stored is None:
        entitlement.require_own(caller, key.namespace, key.name, *path)
        raise NotFoundError
    entitlement.require_shared(caller, stored.package, *path)
    return stored.package
