"""The recorded requests, sent again in their order to a server of ours that runs actions in real containers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from recordings import Recorded
from rest_client import Answer, RestClient

from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory import MemoryStore, MemoryWeights
from instar_controller.clients.process import ProcessContainers
from instar_controller.engines.invoker import EngineSettings, Invoker
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.prewarm import StemCells
from instar_controller.ports import Clock, Store
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.limits import NamespaceLimits

# The public sample keys with which the traffic was recorded.
GUEST = Identity(
    "guest",
    "guest",
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502",
    "123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
    NamespaceLimits(invocations_per_minute=999_999, concurrent_invocations=1000, fires_per_minute=999_999),
)
SYSTEM = Identity(
    "whisk.system",
    "whisk.system",
    "789c46b1-71f6-4ed5-8c54-816aa4f8c502",
    "abczO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
)
LIMITED = Identity(
    "limited",
    "limited",
    "11111111-71f6-4ed5-8c54-816aa4f8c502",
    "limzO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
    NamespaceLimits(3, 1, 1, ("python:3",), True),
)

ACTIVATION_HEADER = "x-openwhisk-activation-id"
RECORD_LIMIT_S = 60.0
CELLS = (StemCells("python:3", 256, 1),)  # most of the recorded actions need one


class WatchedStore(MemoryStore):
    """Tells when an activation's record has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = threading.Condition()
        self._ids: set[str] = set()

    def put_activation(self, activation: Activation) -> None:
        super().put_activation(activation)
        with self._arrived:
            self._ids.add(activation.activation_id)
            self._arrived.notify_all()

    def wait_for(self, ids: Sequence[str]) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: self._ids.issuperset(ids), RECORD_LIMIT_S), "no record came"


class MinuteClock:
    """The time of day, moved on so that a minute has just begun: a rate is counted by the clock's minutes."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self._ahead_ms

    def begin_minute(self) -> None:
        self._ahead_ms += 60_000 - self.now_ms() % 60_000


@contextmanager
def invoker(store: Store, clock: Clock, root: Path, environment: dict[str, str]) -> Iterator[Invoker]:
    """The engine with containers that are processes, as `instar serve` wires it."""
    engine = Invoker(
        ProcessContainers(root, environment),
        store,
        clock,
        MemoryWeights(),
        pool=PoolSettings(stem_cells=CELLS),
        settings=EngineSettings(),
    )
    engine.start()
    try:
        yield engine
    finally:
        engine.close(drain_s=0.5)


class Replay:
    """Sends recorded requests and keeps what was answered."""

    def __init__(self, store: WatchedStore, clock: MinuteClock, engine: Invoker) -> None:
        for identity in (GUEST, SYSTEM, LIMITED):
            identities.add(store, clock, identity)
        app: Flask = create_app(Services(store, engine, clock))
        self._client = RestClient(app, None)
        self._store = store
        self._clock = clock
        self._ids: dict[str, str] = {}  # recorded activation id -> ours
        self._pending: list[str] = []

    def run(self, recorded: Sequence[Recorded]) -> dict[str, Answer]:
        """What our server answers to each, by its id."""
        return {one.id: self._send(one) for one in recorded}

    def _send(self, recorded: Recorded) -> Answer:
        if recorded.name == "put action in the limited namespace":
            self._clock.begin_minute()
        if "/activations" in recorded.path or "(limited) / 429" in recorded.name:
            # The recording's pauses were long enough for every record to be stored and every slot to be free.
            self._store.wait_for(self._pending)
            self._pending.clear()
        target = re.sub(r"[0-9a-f]{32}", lambda match: self._ids.get(match.group(), match.group()), recorded.target)
        answer = self._client.send(recorded.method, target, raw=recorded.sent or None, headers=recorded.sent_headers)
        theirs, ours = recorded.headers.get(ACTIVATION_HEADER), answer.headers.get(ACTIVATION_HEADER)
        if ours is not None:
            self._pending.append(ours)
            if theirs is not None:
                self._ids[theirs] = ours
        return answer


def parsed(recorded: Recorded) -> Any:
    """The body that was sent, if it is JSON."""
    try:
        return json.loads(recorded.sent)
    except ValueError:
        return None
