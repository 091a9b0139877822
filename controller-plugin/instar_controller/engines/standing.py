"""What a node tells dispatchers of its containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from instar_controller.engines.heartbeats import NodeState
from instar_controller.policies import dispatch
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container

ON_ITS_WAY = frozenset({State.STARTING, State.REMOVING})


def of(containers: Iterable[Container], *, memory_mb: int, kinds: frozenset[str] | None) -> NodeState:
    """A node with these containers that may use so much memory and run these kinds (None: all)."""
    warm = Counter(
        dispatch.function(it.key.namespace, it.key.action, it.key.revision)
        for it in containers
        if it.key is not None and it.state not in ON_ITS_WAY
    )
    return NodeState(memory_mb, kinds, warm)
