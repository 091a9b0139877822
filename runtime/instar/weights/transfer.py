"""What a fetcher knows of one file on its way, and of one go at reading some of its chunks.

The rule: all of it belongs to the fetcher, is changed under its lock only, and decides nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from instar.errors import InstarError
from instar.weights.manifest import Weights
from instar.weights.pipeline import Ask, Read, TransferId, Urgency
from instar.weights.reuse import Piece
from instar.weights.sources import Origin, Reader
from instar.weights.store import Partial

LEAST_RUN_BYTES, MOST_RUN_BYTES = 2 << 20, 64 << 20  # asked of a source at once
LATENCY_SHARE = 0.1  # of a request's time may be its latency: a source that answers late is asked for more at once


@dataclass(slots=True, eq=False)
class Transfer:
    """One file that this process wants. Owned by the fetcher; changed under its lock only."""

    weights: Weights
    partial: Partial
    origin: Origin
    spans: bytes
    urgency: Urgency
    began_s: float
    plan: dict[int, tuple[Piece, ...]]  # chunks that other files of the node have parts of
    fetched_bytes: int = 0
    reused_bytes: int = 0
    error: InstarError | None = None
    failures: int = 0  # in a row, without a chunk between them
    users: int = 0  # threads that still look at `partial`
    is_ours: bool = False  # this process holds the map's lock: it fetches
    is_over: bool = False
    run_bytes: int = LEAST_RUN_BYTES  # how much one go reads
    asks: dict[Urgency, Ask] = field(default_factory=dict)
    idle: list[Reader] = field(default_factory=list)
    busy: set[Reader] = field(default_factory=set)

    @property
    def id(self) -> TransferId:
        return TransferId(self.weights.digest)

    def account(self, latency_s: float, nbytes: int, reading_s: float) -> None:
        """A source took so long to answer, and then so long to give so many bytes.

        A partition that is to hide a request's latency has at least the bytes that the link carries meanwhile
        (PISeL, "Pipelining DNN Inference for Serverless Computing", CIKM 2024).
        """
        hidden = latency_s / LATENCY_SHARE * nbytes / max(reading_s, 1e-6)
        self.run_bytes = min(MOST_RUN_BYTES, max(LEAST_RUN_BYTES, int(hidden)))


@dataclass(slots=True, eq=False)
class Run:
    """Neighbouring chunks that one thread reads in one go. The first one is what it is at."""

    transfer: Transfer
    reads: deque[Read]
    moved_s: float  # when its last bytes came
