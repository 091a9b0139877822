"""What a dispatcher counts, for metrics and probes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What has happened since the start. The dispatcher's lock guards it."""

    read: int = 0
    malformed: int = 0
    repeated: int = 0  # read although they were sent by an earlier run, or are known already
    sent: int = 0
    sent_again: int = 0  # of these, to another node than at first
    doubtful: int = 0
    finished: int = 0
    failed: int = 0  # answered with a system error
    completed: int = 0  # whose result a lost node had delivered
    expired: int = 0  # of the failed, since they waited for too long
    lost_nodes: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A dispatcher at one moment, for metrics and probes."""

    counters: Counters
    nodes_alive: int
    nodes_settling: int
    memory_mb: int  # of the nodes that are alive
    busy_mb: int  # of it, by this dispatcher's work
    waiting: int
    open: int  # sent, and not known to be done
    uncommitted: int
