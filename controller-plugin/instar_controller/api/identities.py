"""Identities in the store: made on a server's first start, found by the uuid of their key.

One rule: an identity is a document like any other, so it survives what documents survive.
"""

from __future__ import annotations

from collections.abc import Mapping

from instar_controller.errors import MalformedError, NotFoundError
from instar_controller.ports import Clock, Store
from instar_controller.whisk import names
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.identity import Identity, generate
from instar_controller.whisk.limits import NamespaceLimits, parse_namespace_limits
from instar_controller.whisk.values import Json

_NO_NAMESPACE = ""  # identities are no namespace's documents: they say which namespaces there are


def create(store: Store, clock: Clock, namespace: str) -> Identity:
    """A new identity for `namespace`, with a fresh key. Raises `MalformedError` for an impossible name."""
    identity = generate(names.check(namespace))
    add(store, clock, identity)
    return identity


def add(store: Store, clock: Clock, identity: Identity) -> None:
    """Keep an identity whose key is given. Raises `ConflictError` if its uuid is taken."""
    body: dict[str, Json] = {
        "subject": identity.subject,
        "namespace": identity.namespace,
        "key": identity.key,
        "limits": identity.limits.to_json(),
    }
    store.put(Document(_key(identity.uuid), body, clock.now_ms()), replaces=None)


def find(store: Store, uuid: str) -> Identity | None:
    """The identity whose key begins with `uuid`; None if there is none."""
    try:
        return _identity(store.get(_key(uuid)))
    except NotFoundError:
        return None


def of_namespace(store: Store, namespace: str) -> Identity | None:
    """The identity that was first made for `namespace`; None if there is none."""
    stored = (_identity(document) for document in reversed(_all(store)))
    return next((identity for identity in stored if identity.namespace == namespace), None)


def namespaces(store: Store) -> frozenset[str]:
    """Every namespace that somebody has."""
    return frozenset(_identity(document).namespace for document in _all(store))


def _all(store: Store) -> list[Document]:
    return list(store.list_documents(Collection.IDENTITIES, _NO_NAMESPACE))


def _key(uuid: str) -> Key:
    return Key(Collection.IDENTITIES, _NO_NAMESPACE, uuid)


def _identity(document: Document) -> Identity:
    body = document.body
    limits = body.get("limits")
    if not isinstance(limits, Mapping):
        raise MalformedError.content(f"the stored identity {document.key.name} is damaged")
    return Identity(
        subject=str(body["subject"]),
        namespace=str(body["namespace"]),
        uuid=document.key.name,
        key=str(body["key"]),
        limits=parse_namespace_limits(limits) if limits else NamespaceLimits(),
    )
