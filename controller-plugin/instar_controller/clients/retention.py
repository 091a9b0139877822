"""How many activation records a store keeps.

One rule: the oldest go first, by their start. A stock platform keeps records until an operator's job deletes
them; a store on a laptop has no operator.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Retention:
    """The bounds, and how far they may be passed before the store looks again."""

    max_records: int = 20_000  # about 20 MiB of ordinary records
    max_bytes: int = 1024 * MIB  # of results and logs together: one record may have 11 MiB of them
    slack: int = 64  # records written between two looks


DEFAULT = Retention()
