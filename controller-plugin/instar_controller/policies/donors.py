"""Whose container may become another function: who is a donor for a job.

One rule: every condition holds at once. A donor has been idle for a while, so its own function is not about to need
it; nothing is done with it; its kind and its memory are the job's, as with stem cells; neither its function nor the
job's wants to be kept apart; and both belong together: the same namespace calls them, and the same owner wrote them.
An operator may lift the last condition, and no other.

Whether taking a donor is worth it is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from instar_controller.policies.snapshot import Container, ContainerId, Job
from instar_controller.whisk.invocation import ContainerKey


@dataclass(frozen=True, slots=True)
class Sharing:
    """When a container may become another function."""

    idle_threshold_s: float = 60.0  # since its last use; a function that is called every minute keeps its own
    share_across_namespaces: bool = False  # an operator's word that these namespaces trust each other
    distrust_s: float = 600.0  # after a failed transformation its function gets no donor: its own code may be why


def find(
    job: Job,
    containers: Iterable[Container],
    sharing: Sharing,
    *,
    now_s: float,
    refused_by: Collection[ContainerId] = (),
) -> tuple[Container, ...]:
    """The job's donors, longest unused first; without those of `refused_by`, which were asked already."""
    if not job.shares:
        return ()
    found = [c for c in containers if _is_donor(c, job, sharing, now_s=now_s) and c.id not in refused_by]
    return tuple(sorted(found, key=lambda c: c.last_used_s))


def next_one_s(
    job: Job,
    containers: Iterable[Container],
    sharing: Sharing,
    *,
    after_s: float,
    refused_by: Collection[ContainerId] = (),
) -> float | None:
    """When the job gets one donor more, by nothing but the passing of time; None if it will not. `after_s` is when
    `find` was asked last."""
    if not job.shares:
        return None
    ripe_s = [_ripe_s(c, sharing) for c in containers if _may_become(c, job, sharing) and c.id not in refused_by]
    return min((at_s for at_s in ripe_s if at_s > after_s), default=None)


def belong_together(one: ContainerKey, other: ContainerKey) -> bool:
    """Called by the same namespace, which may be a guest in both, and of the same owner."""
    return (one.namespace, _owner(one)) == (other.namespace, _owner(other))


def _is_donor(container: Container, job: Job, sharing: Sharing, *, now_s: float) -> bool:
    return _may_become(container, job, sharing) and _ripe_s(container, sharing) <= now_s


def _ripe_s(container: Container, sharing: Sharing) -> float:
    return container.last_used_s + sharing.idle_threshold_s


def _may_become(container: Container, job: Job, sharing: Sharing) -> bool:
    """Whether it is a donor once it has been idle for long enough."""
    return (
        container.is_idle
        and container.shares
        and (container.kind, container.memory_mb) == (job.kind, job.memory_mb)
        and container.key is not None
        and container.key != job.key
        and (sharing.share_across_namespaces or belong_together(container.key, job.key))
    )


def _owner(key: ContainerKey) -> str:
    return key.action.partition("/")[0]
