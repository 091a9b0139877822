"""The message by which a controller hands an activation to an invoker.

One rule: whoever has parsed one knows whom to answer, and what about; so from here on an answer is owed. What cannot
be parsed cannot be answered, which is why nothing is refused here that could still be answered. What the parameters
become is `locked`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from instar_controller.errors import MalformedError
from instar_controller.whisk import activation, caller, fields, instances, names, transid, version
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.caller import Caller
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.instances import ControllerInstance
from instar_controller.whisk.transid import TransactionId
from instar_controller.whisk.values import Json, JsonObject

HEALTH_NAMESPACE = "whisk.system"
HEALTH_TEST = "invokerHealthTestAction"  # how the names of the controllers' tests begin

_WHAT = "an activation message"


@dataclass(frozen=True, slots=True)
class FullyQualifiedName:
    """An action: `path` is `ns` or `ns/pkg`; `binding` the package binding, `ns/pkg`, that it was reached through."""

    path: str
    name: str
    version: str | None = None
    binding: str | None = None

    @property
    def full_name(self) -> str:
        """`ns/[pkg/]name`, which is also the id of its document."""
        return f"{self.path}/{self.name}"

    @property
    def is_health_test(self) -> bool:
        """Whether it is a controller's own action, by which it finds out if an invoker works."""
        return self.path == HEALTH_NAMESPACE and self.name.startswith(HEALTH_TEST)

    def to_json(self) -> JsonObject:
        optional = {"version": self.version, "binding": self.binding}
        return {
            "path": self.path,
            "name": self.name,
            **{key: value for key, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class ActivationMessage:
    """One activation. `content` holds all parameters, merged; None if there are none, as in a health test.

    `init_args` names those of `content` that become environment variables, `locked_args` those that are encrypted,
    with the algorithm. `revision` None asks for the latest action, and for none that was kept.
    """

    transid: TransactionId
    action: FullyQualifiedName
    revision: str | None
    user: Caller
    activation_id: ActivationId
    controller: ControllerInstance
    blocking: bool
    content: Json = field(default=None, repr=False)
    init_args: tuple[str, ...] = ()
    locked_args: Mapping[str, str] = field(default_factory=dict)
    cause: ActivationId | None = None
    trace_context: Mapping[str, str] | None = None

    def to_json(self) -> JsonObject:
        optional: dict[str, Json] = {
            "content": self.content,
            "cause": self.cause,
            "traceContext": self.trace_context,
        }
        return {
            "transid": self.transid.to_json(),
            "action": self.action.to_json(),
            "revision": self.revision,
            "user": self.user.to_json(),
            "activationId": self.activation_id,
            "rootControllerIndex": self.controller.to_json(),
            "blocking": self.blocking,
            "initArgs": list(self.init_args),
            "lockedArgs": dict(self.locked_args),
            **{key: value for key, value in optional.items() if value is not None},
        }

    def encode(self) -> bytes:
        return fields.encode(self.to_json())

    def __str__(self) -> str:
        return f"{self.activation_id} of {self.action.full_name}"


def parse(message: bytes) -> ActivationMessage:
    """The activation that `message` is about. Raises `MalformedError`."""
    return _from(fields.decode(message, _WHAT))


def from_json(value: Json) -> ActivationMessage:
    """The same from JSON that is parsed already. Raises `MalformedError`."""
    return _from(fields.parse(value, _WHAT))


def _from(found: Fields) -> ActivationMessage:
    cause = found.optional_text("cause")
    content = found.all.get("content")
    if content is not None and not isinstance(content, (Mapping, list)):
        raise MalformedError(f"{_WHAT}: 'content' must be an object or an array, not {fields.shown(content)}")
    return ActivationMessage(
        transid=transid.parse(found.value("transid")),
        action=parse_name(found.value("action"), f"{_WHAT}: 'action'"),
        revision=found.optional_text("revision"),
        user=caller.parse(found.value("user"), f"{_WHAT}: 'user'"),
        activation_id=activation.parse_id(found.text("activationId")),
        controller=instances.parse_controller(found.value("rootControllerIndex"), f"{_WHAT}: 'rootControllerIndex'"),
        blocking=found.truth("blocking"),
        content=content,
        init_args=found.texts("initArgs") if found.has("initArgs") else (),
        locked_args=found.text_map("lockedArgs") if found.has("lockedArgs") else {},
        cause=None if cause is None else activation.parse_id(cause),
        trace_context=found.text_map("traceContext") if found.has("traceContext") else None,
    )


def parse_name(value: Json, what: str) -> FullyQualifiedName:
    """The action that `value` names; `what` says in errors where it was found. Raises `MalformedError`."""
    found = fields.parse(value, what)
    path, binding, given = found.text("path"), found.optional_text("binding"), found.optional_text("version")
    _check_path(path, what)
    if binding is not None:
        _check_path(binding, what)
    if given is not None:
        version.parse(given)
    return FullyQualifiedName(path, names.check(found.text("name")), given, binding)


def _check_path(path: str, what: str) -> None:
    parts = path.split("/")
    if len(parts) > 2:
        raise MalformedError(f"{what}: a path is a namespace or a namespace and a package, not {fields.shown(path)}")
    for part in parts:
        names.check(part)
