"""The transaction id: what a message was caused by, and when that arrived at the controller.

One rule: it goes back exactly as it came. A controller recognises the answer to its health test by nothing else, so
what was parsed is kept beside what it means: parents are of no use here but in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instar_controller.whisk.values import Json

UNKNOWN = "sid_unknown"  # the id of what names none, as OpenWhisk calls it

_LONG = 1 << 63


@dataclass(frozen=True, slots=True)
class TransactionId:
    """`start_ms`: when the request arrived at the controller, epoch milliseconds; None if the id does not say.

    Two are equal if they are the same on the wire.
    """

    id: str
    start_ms: int | None
    raw: Json

    def started_ms(self, otherwise: int) -> int:
        """When the request arrived at the controller; `otherwise` if the id does not say."""
        return otherwise if self.start_ms is None else self.start_ms

    @property
    def extra_logging(self) -> bool:
        """Whether its request said `X-OW-EXTRA-LOGGING: on`."""
        return self.start_ms is not None and isinstance(self.raw, list) and self.raw[2:3] == [True]

    def to_json(self) -> Json:
        return self.raw


def create(id: str, start_ms: int) -> TransactionId:
    """The id of something that begins here."""
    return TransactionId(id, start_ms, [id, start_ms])


def parse(value: Json) -> TransactionId:
    """The id that `value` is. Never fails: what cannot be understood has the id `UNKNOWN`, and goes back as well."""
    if isinstance(value, list) and len(value) >= 2 and _is_well_formed(value):
        id, start = value[0], value[1]
        if isinstance(id, str) and isinstance(start, (int, float)):
            return TransactionId(id, int(start), value)
    return TransactionId(UNKNOWN, None, value)


def _is_well_formed(value: Sequence[Json]) -> bool:
    """`[id, start]`, then perhaps whether to log more, then perhaps the id of a parent."""
    start, rest = value[1], list(value[2:])
    if isinstance(start, bool) or not isinstance(start, (int, float)) or not 0 <= start < _LONG:
        return False
    if rest and isinstance(rest[0], bool):
        rest = rest[1:]
    return not rest or (len(rest) == 1 and isinstance(rest[0], list))
