"""What an action and a namespace may use: defaults, bounds, and how a request's numbers are held against
them.

One rule: a bound is configuration, the text that refuses a number outside of it is OpenWhisk's (clients
search it for "exceeds allowed threshold"). Counting what is in use happens elsewhere (`api/throttle.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from instar_controller.errors import MalformedError, RefusedError
from instar_controller.whisk.values import Json, JsonObject

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least, the usual and the greatest value of one limit."""

    least: int
    default: int
    most: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The platform's limits; the defaults are OpenWhisk's."""

    timeout_ms: Bounds = Bounds(100, 60_000, 300_000)
    memory_mb: Bounds = Bounds(128, 256, 512)
    logs_mb: Bounds = Bounds(0, 10, 10)
    concurrency: Bounds = Bounds(1, 1, 1)
    max_code_bytes: int = 48 * MIB
    max_parameters_bytes: int = MIB  # of an action's or package's parameters, and of its annotations
    max_payload_bytes: int = MIB  # of the arguments of one invocation
    max_result_bytes: int = MIB  # of what an action answers; what is longer is cut
    max_body_bytes: int = 50 * MIB  # of any request
    max_wait_ms: int = 60_000  # how long a blocking invocation is waited for
    invocations_per_minute: int = 60
    concurrent_invocations: int = 30
    fires_per_minute: int = 60


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """One action's limits, within the platform's bounds."""

    timeout_ms: int
    memory_mb: int
    logs_mb: int
    concurrency: int

    def to_json(self) -> JsonObject:
        return {
            "concurrency": self.concurrency,
            "logs": self.logs_mb,
            "memory": self.memory_mb,
            "timeout": self.timeout_ms,
        }


@dataclass(frozen=True, slots=True)
class NamespaceLimits:
    """What one namespace has of its own; None where the platform's limit holds."""

    invocations_per_minute: int | None = None
    concurrent_invocations: int | None = None
    fires_per_minute: int | None = None
    allowed_kinds: tuple[str, ...] | None = None
    store_activations: bool | None = None

    def to_json(self) -> JsonObject:
        """The stored form: only what the namespace has of its own."""
        values: dict[str, Json] = {
            "invocationsPerMinute": self.invocations_per_minute,
            "concurrentInvocations": self.concurrent_invocations,
            "firesPerMinute": self.fires_per_minute,
            "allowedKinds": None if self.allowed_kinds is None else list(self.allowed_kinds),
            "storeActivations": self.store_activations,
        }
        return {key: value for key, value in values.items() if value is not None}


def parse_namespace_limits(value: JsonObject) -> NamespaceLimits:
    """The limits in a stored document. Raises `MalformedError` for a value of a wrong type; tolerates other
    keys.
    """
    kinds = value.get("allowedKinds")
    stores = value.get("storeActivations")
    if kinds is not None and not (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)):
        raise MalformedError.content(f"'allowedKinds' must be an array of kinds, not {kinds!r}")
    if stores is not None and not isinstance(stores, bool):
        raise MalformedError.content(f"'storeActivations' must be true or false, not {stores!r}")
    return NamespaceLimits(
        invocations_per_minute=_whole_number(value, "invocationsPerMinute"),
        concurrent_invocations=_whole_number(value, "concurrentInvocations"),
        fires_per_minute=_whole_number(value, "firesPerMinute"),
        allowed_kinds=None if kinds is None else tuple(str(kind) for kind in kinds),
        store_activations=stores,
    )


@dataclass(frozen=True, slots=True)
class LimitsPut:
    """The limits that a request names; None for those it leaves alone."""

    timeout_ms: int | None = None
    memory_mb: int | None = None
    logs_mb: int | None = None
    concurrency: int | None = None


NO_LIMITS = LimitsPut()


def parse_limits_put(value: Json) -> LimitsPut:
    """The limits in a request's body. Raises `MalformedError`."""
    if not isinstance(value, Mapping):
        raise MalformedError.content("limits must be an object of whole numbers")
    return LimitsPut(
        timeout_ms=_whole_number(value, "timeout"),
        memory_mb=_whole_number(value, "memory"),
        logs_mb=_whole_number(value, "logs"),
        concurrency=_whole_number(value, "concurrency"),
    )


def default_limits(limits: Limits) -> ActionLimits:
    return ActionLimits(
        limits.timeout_ms.default,
        limits.memory_mb.default,
        limits.logs_mb.default,
        limits.concurrency.default,
    )


def merge(old: ActionLimits, put: LimitsPut) -> ActionLimits:
    """`old`, with each field that `put` names."""
    return ActionLimits(
        timeout_ms=old.timeout_ms if put.timeout_ms is None else put.timeout_ms,
        memory_mb=old.memory_mb if put.memory_mb is None else put.memory_mb,
        logs_mb=old.logs_mb if put.logs_mb is None else put.logs_mb,
        concurrency=old.concurrency if put.concurrency is None else put.concurrency,
    )


def check(action: ActionLimits, limits: Limits) -> None:
    """Raises `RefusedError` for the first limit that is out of the platform's bounds."""
    _check("duration", action.timeout_ms, limits.timeout_ms, " milliseconds")
    _check("memory size", action.memory_mb, limits.memory_mb, " MB")
    _check("log size", action.logs_mb, limits.logs_mb, " MB")
    _check("concurrency", action.concurrency, limits.concurrency, "")


def _check(name: str, value: int, bounds: Bounds, unit: str) -> None:
    for wrong, word, bound in (
        (value > bounds.most, "exceeds", bounds.most),
        (value < bounds.least, "below", bounds.least),
    ):
        if wrong:
            raise RefusedError(f"requirement failed: {name} {value}{unit} {word} allowed threshold of {bound}{unit}")


def _whole_number(value: Mapping[str, Json], key: str) -> int | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        raise MalformedError.content(f"'{key}' must be a whole number, not {number!r}")
    return number


@dataclass(frozen=True, slots=True)
class EffectiveLimits:
    """What holds for one namespace: its own limits where it has any, else the platform's."""

    own: NamespaceLimits
    platform: Limits = field(default_factory=Limits)

    @property
    def invocations_per_minute(self) -> int:
        own = self.own.invocations_per_minute
        return self.platform.invocations_per_minute if own is None else own

    @property
    def concurrent_invocations(self) -> int:
        own = self.own.concurrent_invocations
        return self.platform.concurrent_invocations if own is None else own

    @property
    def fires_per_minute(self) -> int:
        own = self.own.fires_per_minute
        return self.platform.fires_per_minute if own is None else own

    def to_json(self) -> JsonObject:
        """The answer to `GET NS/limits`."""
        platform = self.platform
        shown: dict[str, Json] = {
            "concurrentInvocations": self.concurrent_invocations,
            "firesPerMinute": self.fires_per_minute,
            "invocationsPerMinute": self.invocations_per_minute,
            "maxActionConcurrency": platform.concurrency.most,
            "maxActionInstances": self.concurrent_invocations,
            "maxActionLogs": platform.logs_mb.most,
            "maxActionMemory": platform.memory_mb.most,
            "maxActionTimeout": platform.timeout_ms.most,
            "maxParameterSize": f"{platform.max_parameters_bytes} B",
            "minActionConcurrency": platform.concurrency.least,
            "minActionLogs": platform.logs_mb.least,
            "minActionMemory": platform.memory_mb.least,
            "minActionTimeout": platform.timeout_ms.least,
        }
        if self.own.allowed_kinds is not None:
            shown["allowedKinds"] = list(self.own.allowed_kinds)
        if self.own.store_activations is not None:
            shown["storeActivations"] = self.own.store_activations
        return shown
