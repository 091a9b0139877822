"""The fields of a JSON object that came over the wire, taken out by type.

One rule: what is missing or of a wrong type is a `MalformedError` that names the object, the field, what is there and
what belongs there; fields that nobody asks for are nobody's business. An optional field may be missing or null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from instar_controller.errors import MalformedError
from instar_controller.whisk import values
from instar_controller.whisk.values import Json, JsonObject

_LONG = 1 << 63  # numbers on the wire are the JVM's


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one object; `what` names it in errors."""

    what: str
    all: JsonObject

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.all.get(key) is not None

    def value(self, key: str) -> Json:
        """The field as it is; null is fine, missing is not."""
        if key not in self.all:
            raise MalformedError(f"{self.what} lacks '{key}'")
        return self.all[key]

    def text(self, key: str) -> str:
        value = self.all.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def number(self, key: str) -> int:
        """A whole number of at most 64 bits."""
        value = self.all.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -_LONG <= value < _LONG:
            raise self._wrong(key, "a whole number of 64 bits")
        return value

    def truth(self, key: str) -> bool:
        value = self.all.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def object(self, key: str) -> JsonObject:
        value = self.all.get(key)
        if not isinstance(value, Mapping):
            raise self._wrong(key, "an object")
        return value

    def fields(self, key: str) -> Fields:
        """The fields of the object in this field."""
        return Fields(f"{self.what}: '{key}'", self.object(key))

    def array(self, key: str) -> Sequence[Json]:
        value = self.all.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "an array")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of texts."""
        texts = tuple(item for item in self.array(key) if isinstance(item, str))
        if len(texts) != len(self.array(key)):
            raise self._wrong(key, "an array of texts")
        return texts

    def text_map(self, key: str) -> Mapping[str, str]:
        """An object whose values are texts."""
        values = self.object(key)
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        if len(texts) != len(values):
            raise self._wrong(key, "an object of texts")
        return texts

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def optional_number(self, key: str) -> int | None:
        return self.number(key) if self.has(key) else None

    def _wrong(self, key: str, wanted: str) -> MalformedError:
        if key not in self.all:
            return MalformedError(f"{self.what} lacks '{key}', which is {wanted}")
        return MalformedError(f"{self.what}: '{key}' must be {wanted}, not {shown(self.all[key])}")


def parse(value: Json, what: str) -> Fields:
    """The fields of `value`. Raises `MalformedError` if it is no object."""
    if not isinstance(value, Mapping):
        raise MalformedError(f"{what} must be an object, not {shown(value)}")
    return Fields(what, value)


def decode(message: bytes, what: str) -> Fields:
    """The fields of the object that `message` holds as JSON in UTF-8. Raises `MalformedError`."""
    try:
        value = values.parse(message, max_depth=values.MAX_MESSAGE_DEPTH)
    except ValueError as error:
        raise MalformedError(f"{what} of {len(message)} bytes is not JSON: {str(error)[:200]}") from error
    return parse(value, what)


def encode(value: JsonObject) -> bytes:
    """An object as a message carries it: compact JSON in UTF-8."""
    return values.compact(value).encode()


def shown(value: Json) -> str:
    """A value cut short, for an error."""
    text = values.compact(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
