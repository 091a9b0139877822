"""A package or a binding of one: its document, and what a request to create or update one makes of it.

One rule: a binding is a package that names another one; it owns parameters and nothing else, and it never
refers to another binding. Whether the package it names may be read is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from instar_controller.errors import ConflictError, MalformedError
from instar_controller.whisk import names, parameters, version
from instar_controller.whisk.action import FEED, Action
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.limits import Limits
from instar_controller.whisk.parameters import Parameter, Parameters
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.version import FIRST, Version

BINDING = "binding"
RESERVED_NAME = "default"


@dataclass(frozen=True, slots=True)
class Binding:
    """The package that a binding stands for."""

    namespace: str
    name: str

    def to_json(self) -> JsonObject:
        return {"name": self.name, "namespace": self.namespace}

    @property
    def key(self) -> Key:
        return Key(Collection.PACKAGES, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Package:
    """One package; a binding if `binding` is set. `publish`: other namespaces may read and invoke it."""

    namespace: str
    name: str
    version: Version
    publish: bool
    binding: Binding | None
    parameters: Parameters
    annotations: Parameters
    updated_ms: int

    @property
    def full_name(self) -> str:
        """`ns/name`."""
        return f"{self.namespace}/{self.name}"

    def to_json(self) -> dict[str, Json]:
        """As PUT and DELETE answer."""
        return {
            **self._shown(),
            "binding": {} if self.binding is None else self.binding.to_json(),
            "parameters": parameters.to_json(self.parameters),
        }

    def to_json_with(self, actions: Sequence[Action]) -> JsonObject:
        """As GET answers: with what is in it. `actions` are those of the package that a binding names."""
        feeds = [action for action in actions if parameters.has(action.annotations, FEED)]
        plain = [action for action in actions if action not in feeds]
        return {
            **self.to_json(),
            "actions": [action.to_package_line() for action in plain],
            "feeds": [action.to_package_line() for action in feeds],
        }

    def to_summary(self) -> JsonObject:
        """A line of a list."""
        return {**self._shown(), "binding": False if self.binding is None else self.binding.to_json()}

    def to_document(self) -> Document:
        return Document(Key(Collection.PACKAGES, self.namespace, self.name), self.to_json(), self.updated_ms)

    def _shown(self) -> dict[str, Json]:
        return {
            "annotations": parameters.to_json(self.annotations),
            "name": self.name,
            "namespace": self.namespace,
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": str(self.version),
        }


@dataclass(frozen=True, slots=True)
class PackagePut:
    """What a request wants of a package; None for what it leaves alone."""

    binding: Binding | None = None
    parameters: Parameters | None = None
    annotations: Parameters | None = None
    version: Version | None = None
    publish: bool | None = None


def parse_put(body: Json, *, own: str) -> PackagePut:
    """The request in `body`, in which the namespace `_` means `own`. Raises `MalformedError`."""
    if not isinstance(body, Mapping):
        raise MalformedError.content("JSON object expected")
    publish = body.get("publish")
    if publish is not None and not isinstance(publish, bool):
        raise MalformedError.content(f"'publish' must be true or false, not {publish!r}")
    given, notes, wanted = body.get("parameters"), body.get("annotations"), body.get("version")
    return PackagePut(
        binding=_parse_binding(body.get(BINDING), own=own),
        parameters=None if given is None else parameters.parse(given, what="parameters"),
        annotations=None if notes is None else parameters.parse(notes, what="annotations"),
        version=None if wanted is None else version.parse(wanted),
        publish=publish,
    )


def check_sizes(put: PackagePut, limits: Limits) -> None:
    """Raises `TooLargeError` for parameters or annotations above their limits."""
    parameters.check_size(put.parameters or (), "parameters", limits.max_parameters_bytes)
    parameters.check_size(put.annotations or (), "annotations", limits.max_parameters_bytes)


def create(put: PackagePut, key: Key, *, now_ms: int) -> Package:
    """The new package that `put` describes."""
    return Package(
        namespace=key.namespace,
        name=key.name,
        version=put.version or FIRST,
        publish=bool(put.publish),
        binding=put.binding,
        parameters=put.parameters or (),
        annotations=_with_binding_note(put.annotations or (), put.binding),
        updated_ms=now_ms,
    )


def update(old: Package, put: PackagePut, *, now_ms: int) -> Package:
    """`old` with what `put` names, parameters and annotations as a whole. Raises `ConflictError`."""
    if put.binding is not None and old.binding is None:
        raise ConflictError("Resource is a package and cannot be converted into a binding.")
    binding = put.binding or old.binding
    notes = old.annotations if put.annotations is None else put.annotations
    return Package(
        namespace=old.namespace,
        name=old.name,
        version=put.version or old.version.next(),
        publish=old.publish if put.publish is None else put.publish,
        binding=binding,
        parameters=old.parameters if put.parameters is None else put.parameters,
        annotations=_with_binding_note(notes, binding),
        updated_ms=now_ms,
    )


def from_document(document: Document) -> Package:
    """The package in a stored document. Raises `MalformedError` if it is none."""
    body, key = document.body, document.key
    return Package(
        namespace=key.namespace,
        name=key.name,
        version=version.parse(body["version"]),
        publish=body["publish"] is True,
        binding=_parse_binding(body[BINDING], own=key.namespace),
        parameters=parameters.parse(body["parameters"], what="parameters"),
        annotations=parameters.parse(body["annotations"], what="annotations"),
        updated_ms=document.updated_ms,
    )


def _with_binding_note(annotations: Parameters, binding: Binding | None) -> Parameters:
    # Some clients see only lists, which show annotations: so a binding is named there, too.
    notes = parameters.without(annotations, [BINDING])
    return notes if binding is None else (*notes, Parameter(BINDING, binding.to_json()))


def _parse_binding(value: Json, *, own: str) -> Binding | None:
    if not value:
        return None
    namespace, name = (value.get("namespace"), value.get("name")) if isinstance(value, Mapping) else (None, None)
    if not isinstance(namespace, str) or not isinstance(name, str):
        raise MalformedError.content("'binding' must be an object with a 'namespace' and a 'name'")
    return Binding(names.resolve_namespace(namespace, own=own), names.check(name))
