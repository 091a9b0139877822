"""An action: its document, and what a request to create or update one makes of it.

One rule: `create` and `update` are functions from a request and the old document to the new one. Whether the
request may do that, and where the document is kept, is decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from instar_controller.errors import MalformedError, NotOfferedError, RefusedError, TooLargeError
from instar_controller.whisk import limits as action_limits
from instar_controller.whisk import parameters, version
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.limits import NO_LIMITS, ActionLimits, Limits, LimitsPut
from instar_controller.whisk.manifest import Kind, Manifest
from instar_controller.whisk.parameters import Parameter, Parameters
from instar_controller.whisk.values import Json, JsonObject, compact
from instar_controller.whisk.version import FIRST, Version

PROVIDE_API_KEY = "provide-api-key"
FINAL = "final"
FEED = "feed"
CONDUCTOR = "conductor"
EXEC = "exec"
SHARING = "sharing"  # whether a container may be this function's and another's, one after the other
NONE = "none"

DEFAULT_MAIN = "main"  # where an action names no entry point
BLACKBOX = "blackbox"  # the kind of actions that bring their own image


@dataclass(frozen=True, slots=True)
class Exec:
    """An action's code. `binary`: it is base64 of an archive. `main` is None where the user named none.

    `code` is "" in an action that was read for showing only. `image` is the user's own, of kind `blackbox` alone;
    it is told from the runtimes' images by `is_trusted`, which says that the manifest names it: then it is never
    pulled, and ends its log of an activation with OpenWhisk's sentinels, as the runtimes' images do.
    """

    kind: str
    code: str
    binary: bool
    main: str | None = None
    image: str | None = None
    is_trusted: bool = True

    @property
    def container_kind(self) -> str:
        """What containers can run it: those of its kind, or those of its own image."""
        return self.kind if self.image is None else f"{BLACKBOX}:{self.image}"

    def to_json(self) -> dict[str, Json]:
        """Without the code."""
        shown: dict[str, Json] = {"kind": self.kind, "binary": self.binary}
        return shown if self.main is None else {**shown, "main": self.main}

    def __repr__(self) -> str:
        return f"Exec({self.kind}, {len(self.code)} characters, binary={self.binary}, main={self.main})"


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `namespace` is its owner's, without the package; `package` is "" where there is none."""

    namespace: str
    package: str
    name: str
    version: Version
    publish: bool
    exec: Exec
    parameters: Parameters
    annotations: Parameters
    limits: ActionLimits
    updated_ms: int

    @property
    def path(self) -> str:
        """`ns` or `ns/pkg`: what the documents' field `namespace` holds."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace

    @property
    def full_name(self) -> str:
        """`ns/[pkg/]name`."""
        return f"{self.path}/{self.name}"

    @property
    def provides_api_key(self) -> bool:
        """Whether the function is told its caller's key: if it asks, or is older than that question."""
        notes = self.annotations
        return not parameters.has(notes, PROVIDE_API_KEY) or parameters.is_true(notes, PROVIDE_API_KEY)

    @property
    def shares_containers(self) -> bool:
        """Whether its idle containers may become other functions, and others' may become it. Any annotation at all
        says no: there is no other valid one, and a damaged one should not cost what it was to keep."""
        return not parameters.has(self.annotations, SHARING)

    @property
    def final_keys(self) -> frozenset[str]:
        """The parameters that a request may not override."""
        if not parameters.is_true(self.annotations, FINAL):
            return frozenset()
        return frozenset(p.key for p in self.parameters if p.value is not None)

    def to_json(self) -> JsonObject:
        """The whole action, as PUT, GET and DELETE answer."""
        return {**self.to_json_without_code(), "exec": {**self.exec.to_json(), "code": self.exec.code}}

    def to_json_without_code(self) -> JsonObject:
        return {
            **self._shown(),
            "exec": self.exec.to_json(),
            "parameters": parameters.to_json(self.parameters),
        }

    def to_summary(self) -> JsonObject:
        """A line of a list."""
        return {**self._shown(), "exec": {"binary": self.exec.binary}}

    def to_package_line(self) -> JsonObject:
        """A line of a package's `actions` or `feeds`."""
        return {
            "annotations": parameters.to_json(self.annotations),
            "name": self.name,
            "version": str(self.version),
        }

    def to_document(self) -> Document:
        key = Key(Collection.ACTIONS, self.namespace, self.name, self.package)
        return Document(key, self.to_json_without_code(), self.updated_ms, code=self.exec.code)

    def _shown(self) -> dict[str, Json]:
        return {
            "annotations": parameters.to_json(self.annotations),
            "limits": self.limits.to_json(),
            "name": self.name,
            "namespace": self.path,
            "publish": self.publish,
            "updated": self.updated_ms,
            "version": str(self.version),
        }


@dataclass(frozen=True, slots=True)
class ActionPut:
    """What a request wants of an action; None for what it leaves alone."""

    exec: Exec | None = None
    parameters: Parameters | None = None
    annotations: Parameters = ()
    dropped_annotations: tuple[str, ...] = ()
    limits: LimitsPut = NO_LIMITS
    version: Version | None = None
    publish: bool | None = None


def parse_put(body: Json, manifest: Manifest) -> ActionPut:
    """The request in `body`; fields that OpenWhisk does not know are ignored, as it does.

    Raises `MalformedError`; `NotOfferedError` for the kinds that are no code of a runtime; `RefusedError` for
    a kind that is out of use.
    """
    if not isinstance(body, Mapping):
        raise MalformedError.content("JSON object expected")
    publish = body.get("publish")
    if publish is not None and not isinstance(publish, bool):
        raise MalformedError.content(f"'publish' must be true or false, not {publish!r}")
    given = body.get("parameters")
    wanted_version = body.get("version")
    return ActionPut(
        exec=None if body.get("exec") is None else _parse_exec(body["exec"], manifest),
        parameters=None if given is None else parameters.parse(given, what="parameters"),
        annotations=parameters.parse(body.get("annotations") or [], what="annotations"),
        dropped_annotations=_parse_keys(body.get("delAnnotations") or []),
        limits=action_limits.parse_limits_put(body.get("limits") or {}),
        version=None if wanted_version is None else version.parse(wanted_version),
        publish=publish,
    )


def check_sizes(put: ActionPut, limits: Limits) -> None:
    """Raises `TooLargeError` for code, parameters or annotations above their limits."""
    if put.exec is not None:
        size = len(put.exec.code.encode()) + len((put.exec.main or "").encode())
        if size > limits.max_code_bytes:
            raise TooLargeError(f"exec larger than allowed: {size} > {limits.max_code_bytes} bytes.")
    parameters.check_size(put.parameters or (), "parameters", limits.max_parameters_bytes)
    parameters.check_size(put.annotations, "annotations", limits.max_parameters_bytes)


def create(put: ActionPut, key: Key, *, limits: Limits, now_ms: int) -> Action:
    """The new action that `put` describes. Raises `RefusedError`."""
    if put.exec is None:
        raise RefusedError("exec undefined")
    _check_sharing(put.annotations)
    defaults = () if parameters.has(put.annotations, PROVIDE_API_KEY) else (Parameter(PROVIDE_API_KEY, False),)
    chosen = action_limits.merge(action_limits.default_limits(limits), put.limits)
    action_limits.check(chosen, limits)
    return Action(
        namespace=key.namespace,
        package=key.package,
        name=key.name,
        version=put.version or FIRST,
        publish=bool(put.publish),
        exec=put.exec,
        parameters=put.parameters or (),
        annotations=parameters.merge(put.annotations, defaults, [_exec_note(put.exec)]),
        limits=chosen,
        updated_ms=now_ms,
    )


def update(old: Action, put: ActionPut, *, limits: Limits, now_ms: int) -> Action:
    """`old` with what `put` names: parameters as a whole, annotations and limits one by one.

    Raises `RefusedError`.
    """
    _check_sharing(put.annotations)
    code = put.exec or old.exec
    kept = parameters.without(old.annotations, put.dropped_annotations)
    chosen = action_limits.merge(old.limits, put.limits)
    action_limits.check(chosen, limits)
    return Action(
        namespace=old.namespace,
        package=old.package,
        name=old.name,
        version=put.version or old.version.next(),
        publish=old.publish if put.publish is None else put.publish,
        exec=code,
        parameters=old.parameters if put.parameters is None else put.parameters,
        annotations=parameters.merge(kept, put.annotations, [_exec_note(code)]),
        limits=chosen,
        updated_ms=now_ms,
    )


def from_document(document: Document, *, code: str) -> Action:
    """The action in a stored document. Raises `MalformedError` if it is none."""
    body, key = document.body, document.key
    stored = body["exec"]
    chosen = body["limits"]
    if not isinstance(stored, Mapping) or not isinstance(chosen, Mapping):
        raise MalformedError.content(f"the stored action {key} is damaged")
    main = stored.get("main")
    limits = action_limits.parse_limits_put(chosen)
    return Action(
        namespace=key.namespace,
        package=key.package,
        name=key.name,
        version=version.parse(body["version"]),
        publish=body["publish"] is True,
        exec=Exec(str(stored["kind"]), code, stored["binary"] is True, None if main is None else str(main)),
        parameters=parameters.parse(body["parameters"], what="parameters"),
        annotations=parameters.parse(body["annotations"], what="annotations"),
        limits=action_limits.merge(ActionLimits(0, 0, 0, 0), limits),
        updated_ms=document.updated_ms,
    )


def is_binary(code: str) -> bool:
    """Whether `code` is an archive: valid base64 of full groups, which no source text is."""
    if not code or len(code) % 4:
        return False
    try:
        base64.b64decode(code, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _check_sharing(annotations: Parameters) -> None:
    if parameters.has(annotations, SHARING) and parameters.find(annotations, SHARING) != NONE:
        given = compact(parameters.find(annotations, SHARING))
        raise RefusedError(
            f"The annotation '{SHARING}' is {given[:100]} but can only be \"{NONE}\"; "
            "leave it out where idle containers may be shared with other functions."
        )


def _exec_note(code: Exec) -> Parameter:
    return Parameter(EXEC, code.kind)


def _parse_exec(value: Json, manifest: Manifest) -> Exec:
    if not isinstance(value, Mapping):
        raise MalformedError.content("'exec' must be an object")
    name = value.get("kind")
    if not isinstance(name, str):
        raise MalformedError.content("'kind' must be a string defined in 'exec'")
    kind = _resolve(name, manifest)
    code, main = value.get("code"), value.get("main")
    if not isinstance(code, str):
        raise MalformedError.content(
            f"'code' must be a string or attachment object defined in 'exec' for '{kind.kind}' actions"
        )
    if (main is None and kind.require_main) or (main is not None and not isinstance(main, str)):
        raise MalformedError.content(f"'main' must be a string defined in 'exec' for '{kind.kind}' actions")
    return Exec(kind.kind, code, is_binary(code), main or None)


def _resolve(name: str, manifest: Manifest) -> Kind:
    if name.lower() == "sequence":
        raise NotOfferedError("Sequences")
    if name.lower() == "blackbox":
        raise NotOfferedError("Docker images as actions (kind 'blackbox')")
    kind = manifest.resolve(name)
    if kind is None:
        valid = ", ".join(f"'{kind.kind}'" for kind in manifest.kinds)
        raise MalformedError.content(
            f"The specified runtime '{name}' is not supported by this platform. Valid values are: {valid}."
        )
    check_in_use(kind)
    return kind


def check_in_use(kind: Kind) -> None:
    """Raises `RefusedError` for a kind that the manifest calls deprecated."""
    if kind.deprecated:
        raise RefusedError(
            f"The '{kind.kind}' runtime is no longer supported. "
            "You may read and delete but not update or invoke this action."
        )


def _parse_keys(value: Json) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(key, str) for key in value):
        raise MalformedError.content("'delAnnotations' must be an array of keys")
    return tuple(str(key) for key in value)
