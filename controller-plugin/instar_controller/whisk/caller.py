"""Who invokes, as a message says it: OpenWhisk's `Identity` without the means to prove it.

One rule: all of it is kept as it came, whatever a newer controller may add to limits and keys, and `repr` keeps the
key to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from instar_controller.whisk import fields
from instar_controller.whisk.limits import Bounds, Limits
from instar_controller.whisk.values import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Caller:
    """One subject in one namespace, with the namespace's own limits (none of them need be there)."""

    subject: str
    namespace: str
    uuid: str
    authkey: JsonObject = field(default_factory=dict, repr=False)
    rights: tuple[str, ...] = ()
    limits: JsonObject = field(default_factory=dict)

    @property
    def api_key(self) -> str | None:
        """The key as clients write it; None for a caller that has none of this form."""
        key = self.authkey.get("api_key")
        return key if isinstance(key, str) else None

    @property
    def stores_activations(self) -> bool:
        """Whether the namespace wants records of its activations."""
        return self.limits.get("storeActivations") is not False

    def bounds(self, platform: Limits) -> Limits:
        """The platform's limits with the bounds of an action's limits that the namespace has of its own."""
        return replace(
            platform,
            timeout_ms=self._own(platform.timeout_ms, "ActionTimeout"),
            memory_mb=self._own(platform.memory_mb, "ActionMemory"),
            logs_mb=self._own(platform.logs_mb, "ActionLogs"),
            concurrency=self._own(platform.concurrency, "ActionConcurrency"),
        )

    def to_json(self) -> JsonObject:
        return {
            "subject": self.subject,
            "namespace": {"name": self.namespace, "uuid": self.uuid},
            "authkey": self.authkey,
            "rights": list(self.rights),
            "limits": self.limits,
        }

    def _own(self, platform: Bounds, name: str) -> Bounds:
        least, most = self.limits.get(f"min{name}"), self.limits.get(f"max{name}")
        return replace(
            platform,
            least=least if _is_whole(least) else platform.least,
            most=most if _is_whole(most) else platform.most,
        )


def parse(value: Json, what: str = "a caller") -> Caller:
    """The caller that `value` describes; `what` says in errors where it was found. Raises `MalformedError`."""
    found = fields.parse(value, what)
    namespace = found.fields("namespace")
    authkey, limits = found.all.get("authkey"), found.all.get("limits")
    return Caller(
        subject=found.text("subject"),
        namespace=namespace.text("name"),
        uuid=namespace.text("uuid"),
        authkey=authkey if isinstance(authkey, Mapping) else {},
        rights=found.texts("rights") if found.has("rights") else (),
        limits=limits if isinstance(limits, Mapping) else {},
    )


def _is_whole(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
