"""What an invoker says each second: that it is there, and whether it takes work.

One rule: the invoker is under `name`, as OpenWhisk has it, although it is the whole instance. What a controller makes
of pings, and of their absence, is its own business.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.whisk import fields, instances
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.values import JsonObject

_WHAT = "a ping"


@dataclass(frozen=True, slots=True)
class PingMessage:
    """One ping. Not `is_enabled`: it takes no work from now on, and is to be counted as down at once."""

    instance: InvokerInstance
    is_enabled: bool = True

    def to_json(self) -> JsonObject:
        return {"name": self.instance.to_json(), "isEnabled": self.is_enabled}

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


def parse(message: bytes) -> PingMessage:
    """The ping in `message`; old ones do not say whether they are enabled, and are. Raises `MalformedError`."""
    found = fields.decode(message, _WHAT)
    return PingMessage(
        instances.parse_invoker(found.value("name"), f"{_WHAT}: 'name'"),
        found.truth("isEnabled") if found.has("isEnabled") else True,
    )
