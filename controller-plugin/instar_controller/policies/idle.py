"""What becomes of a warm container that nobody uses: it is paused after a while, and goes after a longer one.

Only warm containers age. A stem cell keeps no one's memory busy but its own and waits for as long as it
takes. Both times count from the last use, so sleeping does not make a container younger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an unused warm container stays, in seconds since its last use."""

    keep_alive_s: float = 610.0  # until it is removed: OpenWhisk's 10 s until its pause and 10 min in it
    pause_grace_s: float | None = None  # until it is paused; None: never


def expired(containers: Iterable[Container], patience: Patience, *, now_s: float) -> tuple[ContainerId, ...]:
    """The idle containers, asleep or not, whose time is up, longest unused first."""
    old = [c for c in containers if c.is_idle and c.last_used_s + patience.keep_alive_s <= now_s]
    return tuple(c.id for c in sorted(old, key=lambda c: c.last_used_s))


def rested(containers: Iterable[Container], patience: Patience, *, now_s: float) -> tuple[ContainerId, ...]:
    """The idle containers that are awake and should sleep now, longest unused first."""
    if patience.pause_grace_s is None:
        return ()
    old = [c for c in _awake(containers) if c.last_used_s + patience.pause_grace_s <= now_s]
    return tuple(c.id for c in sorted(old, key=lambda c: c.last_used_s))


def next_step_s(containers: Iterable[Container], patience: Patience) -> float | None:
    """When one will have to go or to sleep, on the clock of `last_used_s`; None if nothing is idle."""
    known = list(containers)
    steps = [c.last_used_s + patience.keep_alive_s for c in known if c.is_idle]
    if patience.pause_grace_s is not None:
        steps += [c.last_used_s + patience.pause_grace_s for c in _awake(known)]
    return min(steps, default=None)


def _awake(containers: Iterable[Container]) -> list[Container]:
    return [c for c in containers if c.state is State.READY]
