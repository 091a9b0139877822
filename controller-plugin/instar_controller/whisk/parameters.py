"""Parameters and annotations: ordered lists of key and value, on the wire and in documents.

One rule: a key occurs once; where lists meet, the later list's value wins and the key keeps its first
place. Parameters with `init` become environment variables of a container instead of arguments of a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from instar_controller.errors import MalformedError, RefusedError, TooLargeError
from instar_controller.whisk.values import Json, JsonObject, compact, compact_bytes


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key with its value. Annotations have the same form and are never `init`."""

    key: str
    value: Json
    init: bool = False

    def to_json(self) -> JsonObject:
        shown: dict[str, Json] = {"key": self.key, "value": self.value}
        return {**shown, "init": True} if self.init else shown


Parameters = tuple[Parameter, ...]


def parse(value: Json, *, what: str) -> Parameters:
    """The list that `value` is; `what` names it in an error. Raises `MalformedError`."""
    wrong = MalformedError.content(f"{what} malformed! An array of objects with 'key' and 'value' is expected.")
    if not isinstance(value, list):
        raise wrong
    parsed: list[Parameter] = []
    for item in value:
        key = item.get("key") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or not isinstance(key, str) or not key:
            raise wrong
        parsed.append(Parameter(key, item.get("value"), item.get("init") is True))
    return merge(parsed)


def merge(*lists: Iterable[Parameter]) -> Parameters:
    """All of them in one list; a later value replaces an earlier one of the same key."""
    merged: dict[str, Parameter] = {}
    for parameters in lists:
        for parameter in parameters:
            merged[parameter.key] = parameter
    return tuple(merged.values())


def without(parameters: Parameters, keys: Iterable[str]) -> Parameters:
    dropped = frozenset(keys)
    return tuple(parameter for parameter in parameters if parameter.key not in dropped)


def find(parameters: Parameters, key: str) -> Json:
    """The value of `key`; None if there is none."""
    return next((parameter.value for parameter in parameters if parameter.key == key), None)


def has(parameters: Parameters, key: str) -> bool:
    return any(parameter.key == key for parameter in parameters)


def is_true(parameters: Parameters, key: str) -> bool:
    """Whether the value of `key` counts as true: every value but null, false, 0 and empty ones does."""
    return bool(find(parameters, key))


def to_json(parameters: Parameters) -> list[Json]:
    return [parameter.to_json() for parameter in parameters]


def check_size(parameters: Parameters, what: str, limit_bytes: int) -> None:
    """Raises `TooLargeError` if keys and values are longer than `limit_bytes` together."""
    size = sum(len(parameter.key.encode()) + compact_bytes(parameter.value) for parameter in parameters)
    if size > limit_bytes:
        raise TooLargeError(f"{what} larger than allowed: {size} > {limit_bytes} bytes.")


def split(parameters: Parameters, payload: JsonObject) -> tuple[dict[str, Json], dict[str, str]]:
    """The arguments of a call and the environment of its container, from all parameters and a request's
    payload.

    A payload's value for an init parameter goes where that parameter goes. Raises `RefusedError` for a name
    or a value that no environment variable can have.
    """
    merged = {**{parameter.key: parameter.value for parameter in parameters}, **payload}
    variables = [parameter.key for parameter in parameters if parameter.init]
    environment = {key: _checked_variable(key, environment_text(merged.pop(key))) for key in variables}
    return merged, environment


def _checked_variable(key: str, text: str) -> str:
    if "=" in key or "\0" in key or "\0" in text:
        raise RefusedError(
            f"the init parameter '{key}' cannot become an environment variable: "
            "its name must be without '=', name and value without the character NUL"
        )
    return text


def environment_text(value: Json) -> str:
    """A value as an environment variable carries it: a text as it is, null as "", the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else compact(value)
