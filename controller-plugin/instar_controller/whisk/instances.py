"""Who sends a message: an invoker or a controller, as they call themselves on the wire.

One rule: all fields that a newer reader insists on are always written, and insisted on when read: a controller drops
what lacks them, so we must not be more forgiving about what we would send on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from instar_controller.errors import MalformedError
from instar_controller.whisk import byte_size, fields
from instar_controller.whisk.values import Json, JsonObject

_INVOKER = "invoker"
_CONTROLLER = "controller"
_CONTROLLER_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")  # it becomes part of a topic's name


@dataclass(frozen=True, slots=True)
class InvokerInstance:
    """One invoker. `number` is the N of its topic, `user_memory_bytes` what a controller may book on it."""

    number: int
    user_memory_bytes: int
    unique_name: str | None = None
    displayed_name: str | None = None
    busy_memory_bytes: int | None = None
    tags: tuple[str, ...] = ()
    dedicated_namespaces: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        busy = self.busy_memory_bytes
        optional = {
            "uniqueName": self.unique_name,
            "displayedName": self.displayed_name,
            "busyMemory": None if busy is None else byte_size.text(busy),
        }
        return {
            "instance": self.number,
            "userMemory": byte_size.text(self.user_memory_bytes),
            "instanceType": _INVOKER,
            "tags": list(self.tags),
            "dedicatedNamespaces": list(self.dedicated_namespaces),
            **{key: value for key, value in optional.items() if value is not None},
        }

    def __str__(self) -> str:
        return f"invoker{self.number}"


@dataclass(frozen=True, slots=True)
class ControllerInstance:
    """One controller. Its `name` is also the end of the topic's name that it reads answers from."""

    name: str

    def to_json(self) -> JsonObject:
        return {"asString": self.name, "instanceType": _CONTROLLER}

    def __str__(self) -> str:
        return f"controller{self.name}"


def parse_invoker(value: Json, what: str = "an invoker's instance") -> InvokerInstance:
    """The invoker that `value` names; `what` says in errors where it was found. Raises `MalformedError`."""
    found = fields.parse(value, what)
    if found.text("instanceType") != _INVOKER:
        raise MalformedError(f"{what}: 'instanceType' must be '{_INVOKER}', not '{found.text('instanceType')}'")
    number = found.number("instance")
    if number < 0:
        raise MalformedError(f"{what}: 'instance' must not be negative, but is {number}")
    busy = found.optional_text("busyMemory")
    return InvokerInstance(
        number=number,
        user_memory_bytes=byte_size.parse(found.text("userMemory"), f"{what}: 'userMemory'"),
        unique_name=found.optional_text("uniqueName"),
        displayed_name=found.optional_text("displayedName"),
        busy_memory_bytes=None if busy is None else byte_size.parse(busy, f"{what}: 'busyMemory'"),
        tags=found.texts("tags"),
        dedicated_namespaces=found.texts("dedicatedNamespaces"),
    )


def parse_controller(value: Json, what: str = "a controller's instance") -> ControllerInstance:
    """The controller that `value` names; old ones leave `instanceType` out. Raises `MalformedError`."""
    found = fields.parse(value, what)
    kind = found.optional_text("instanceType")
    if kind not in (None, _CONTROLLER):
        raise MalformedError(f"{what}: 'instanceType' must be '{_CONTROLLER}', not '{kind}'")
    name = found.text("asString")
    if not _CONTROLLER_NAME.fullmatch(name):
        raise MalformedError(
            f"{what}: 'asString' must be 1 to 128 letters, digits and '._-', not {fields.shown(name)}"
        )
    return ControllerInstance(name)
