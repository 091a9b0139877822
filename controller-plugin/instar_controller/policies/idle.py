"""When a warm container has been idle for too long.

Only warm containers age. A stem cell keeps no one's memory busy but its own and waits for as long as it
takes.
"""

from __future__ import annotations

from collections.abc import Iterable

from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId


def expired(containers: Iterable[Container], *, now_s: float, keep_alive_s: float) -> tuple[ContainerId, ...]:
    """The warm containers that nobody has used for `keep_alive_s`, longest unused first."""
    old = [c for c in _idle(containers) if c.last_used_s + keep_alive_s <= now_s]
    return tuple(c.id for c in sorted(old, key=lambda c: c.last_used_s))


def next_expiry_s(containers: Iterable[Container], *, keep_alive_s: float) -> float | None:
    """When the next one will have expired, on the clock of `last_used_s`; None if nothing is idle."""
    return min((c.last_used_s + keep_alive_s for c in _idle(containers)), default=None)


def _idle(containers: Iterable[Container]) -> list[Container]:
    return [c for c in containers if c.state is State.READY]
