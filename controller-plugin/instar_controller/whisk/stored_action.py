"""An action as OpenWhisk keeps it in CouchDB, and the `Action` that it is.

One rule: what cannot be read as an action that an invoker runs is a `MalformedError` (the caller answers that its
version is not compatible), whatever document it is. Whether its limits are allowed is checked by `limits.check`,
against what `caller.Caller.bounds` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from instar_controller.errors import MalformedError
from instar_controller.whisk import action, fields, names, parameters, stored_code, version
from instar_controller.whisk import limits as action_limits
from instar_controller.whisk.action import BLACKBOX, Action, Exec
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.limits import ActionLimits, Limits
from instar_controller.whisk.manifest import Manifest
from instar_controller.whisk.stored_code import Attachment, StoredCode, Text
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.version import Version

ENTITY_TYPE = "action"

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_OLD_LIMITS = action_limits.default_limits(Limits())  # for documents from before a limit was introduced


@dataclass(frozen=True, slots=True)
class StoredAction:
    """An action with its document's revision. `action.exec.code` is "" as long as `needs` names an attachment."""

    id: str
    revision: str
    action: Action
    code: StoredCode | None

    @property
    def needs(self) -> str | None:
        """The name of the attachment whose bytes are its code; None if the code is there.

        Raises `StoreError` if it is kept in a store that we cannot read.
        """
        if isinstance(self.code, Attachment) and self.code.inline is None:
            return self.code.name
        return None

    def with_code(self, data: bytes) -> Action:
        """The whole action, from its attachment's bytes. Raises `MalformedError` if they are not what was stored."""
        if isinstance(self.code, Attachment):
            self.code.check(data)
        code = stored_code.for_init(data, binary=self.action.exec.binary)
        return replace(self.action, exec=replace(self.action.exec, code=code))

    def to_json(self) -> JsonObject:
        """The document, but for what CouchDB adds to it on its own account (`_attachments`)."""
        code: dict[str, Json] = {} if self.code is None else {"code": self.code.to_json()}
        image: dict[str, Json] = {} if self.action.exec.image is None else {"image": self.action.exec.image}
        return {
            **self.action.to_json_without_code(),
            "_id": self.id,
            "_rev": self.revision,
            "entityType": ENTITY_TYPE,
            "exec": {**self.action.exec.to_json(), **image, **code},
        }


def is_action(document: JsonObject) -> bool:
    """Whether a document of the same database is an action, and no package, trigger or rule."""
    return "exec" in document


def kind(document: JsonObject) -> str | None:
    """The kind of the action in a document; None if it is none."""
    executable = document.get("exec")
    name = executable.get("kind") if isinstance(executable, dict) else None
    return name if isinstance(name, str) else None


def parse(document: JsonObject, manifest: Manifest) -> StoredAction:
    """The action in a document. Raises `MalformedError` if it is none, or none that runs here."""
    found = fields.parse(document, "a document")
    id = found.text("_id")
    found = Fields(f"the document '{id[:200]}'", document)
    if not is_action(document) or found.all.get("entityType", ENTITY_TYPE) != ENTITY_TYPE:
        raise MalformedError(f"{found.what} is no action")
    if len(found.object("_attachments") if found.has("_attachments") else ()) > 1:
        raise MalformedError(f"{found.what} has more than one attachment")
    executable = found.fields("exec")
    code = (
        stored_code.parse(executable.value("code"), f"{executable.what}: 'code'") if executable.has("code") else None
    )
    namespace, package = _path(found)
    parsed = Action(
        namespace=namespace,
        package=package,
        name=names.check(found.text("name")),
        version=_version(found),
        publish=found.truth("publish") if found.has("publish") else False,
        exec=_exec(executable, code, manifest),
        parameters=_parameters(found, "parameters"),
        annotations=_parameters(found, "annotations"),
        limits=_limits(found.fields("limits")),
        updated_ms=found.number("updated") if found.has("updated") else 0,
    )
    return StoredAction(id, found.text("_rev"), parsed, code)


def _exec(found: Fields, code: StoredCode | None, manifest: Manifest) -> Exec:
    name, main = found.text("kind"), found.optional_text("main") or None
    binary = _is_binary(found, code)
    ready = "" if code is None else _ready(code, binary=binary)
    if name == BLACKBOX:
        image = found.text("image")
        if not _IMAGE.fullmatch(image):
            raise MalformedError(f"{found.what}: 'image' is no image's name: {fields.shown(image)}")
        return Exec(name, ready, binary, main, image, image in manifest.blackboxes)
    known = manifest.resolve(name)
    if known is None:
        raise MalformedError(
            f"{found.what}: the kind '{name[:80]}' is not in the runtimes manifest; "
            "controllers and invokers must have the same one"
        )
    if code is None:
        raise MalformedError(f"{found.what} lacks 'code', which an action of kind '{known.kind}' has")
    return Exec(known.kind, ready, binary, main)


def _is_binary(found: Fields, code: StoredCode | None) -> bool:
    if found.has("binary"):
        return found.truth("binary")
    return isinstance(code, Text) and action.is_binary(code.code)


def _ready(code: StoredCode, *, binary: bool) -> str:
    """The code as `/init` takes it, or "" if it has to be fetched first."""
    if isinstance(code, Text):
        return code.code
    data = code.inline
    return "" if data is None else stored_code.for_init(data, binary=binary)


def _path(found: Fields) -> tuple[str, str]:
    path = found.text("namespace")
    namespace, slash, package = path.partition("/")
    for part in (namespace, package) if slash else (namespace,):
        names.check(part)
    return namespace, package


def _version(found: Fields) -> Version:
    return version.parse(found.value("version"))


def _parameters(found: Fields, key: str) -> parameters.Parameters:
    return parameters.parse(found.array(key), what=f"{found.what}: '{key}'") if found.has(key) else ()


def _limits(found: Fields) -> ActionLimits:
    return action_limits.merge(_OLD_LIMITS, action_limits.parse_limits_put(found.all))
