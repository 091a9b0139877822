"""What a node has of the world, until it is killed: from then on nothing that it does has any effect.

`kill -9` as a test can do it within one process. Each act of the node on the world is atomic towards its death.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from instar_controller.clients import slate
from instar_controller.clients.slate import SlateFile
from instar_controller.cluster_ports import Bus, From, Message, Position, SlateLine, Subscription, TopicSettings
from instar_controller.engines.keeper import Keeper
from instar_controller.errors import BusError, ContainerError, StoreError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Containers, Ending, PendingLog
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import Outcome


class Death:
    """Happens once. `lock` is held by whoever acts on the world."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.has_come = False

    def strike(self) -> None:
        with self.lock:
            self.has_come = True


class Witness:
    """Knows what a node has kept last, on its slate or its bus: its exact position in partition 0.

    It is told under the lock of a `Death`.
    """

    def __init__(self) -> None:
        self.last: Position | None = None

    def see(self, positions: Mapping[int, Position]) -> None:
        self.last = positions.get(0, self.last)


class MortalBus:
    """See `cluster_ports.Bus`."""

    def __init__(self, inner: Bus, death: Death, witness: Witness | None = None) -> None:
        self._inner = inner
        self._death = death
        self._witness = witness or Witness()

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._inner.ensure_topic(topic, settings)

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        return MortalSubscription(self._inner.subscribe(topic, group, begin=begin), self._death, self._witness)

    def send(self, topic: str, value: bytes) -> Future[None]:
        with self._death.lock:
            return Future() if self._death.has_come else self._inner.send(topic, value)

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        return self._inner.committed(topic, group)

    def is_up(self) -> bool:
        return self._inner.is_up()

    def close(self) -> None:
        pass


class MortalSubscription:
    """See `cluster_ports.Subscription`."""

    def __init__(self, inner: Subscription, death: Death, witness: Witness) -> None:
        self._inner = inner
        self._death = death
        self._witness = witness

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        return self._inner.poll(timeout_s=timeout_s, most=most)

    def commit(self, positions: Mapping[int, Position]) -> None:
        with self._death.lock:
            if self._death.has_come:
                raise BusError("the dead commit nothing")
            self._inner.commit(positions)
            self._witness.see(positions)

    def positions(self) -> Mapping[int, Position]:
        return self._inner.positions()

    def ends(self) -> Mapping[int, int]:
        return self._inner.ends()

    def close(self) -> None:
        self._inner.close()


class MortalSlate:
    """See `cluster_ports.Slate`. Whoever dies while writing has written a part; so has a disk that is full."""

    def __init__(self, inner: SlateFile, death: Death, witness: Witness) -> None:
        self._inner = inner
        self._death = death
        self._witness = witness
        self.is_full = False

    def read(self, life: str) -> SlateLine | None:
        return self._inner.read(life)

    def write(self, line: SlateLine) -> None:
        with self._death.lock:
            if self._death.has_come or self.is_full:
                self.tear()
                raise StoreError("the disk is full, or the writer dead")
            self._inner.write(line)
            self._witness.see(line.positions)

    def tear(self) -> None:
        if not self._inner.path.exists():
            return
        with self._inner.path.open("r+b") as file:
            os.pwrite(file.fileno(), b"0123456789abcdef\t[", self._inner._place * slate.PLACE_BYTES)


class MortalRecords:
    """See `node.Backlog`."""

    def __init__(self, keeper: Keeper, death: Death) -> None:
        self._keeper = keeper
        self._death = death

    def put_activation(self, activation: Activation) -> None:
        with self._death.lock:
            if self._death.has_come:
                raise StoreError("the dead write nothing")
            self._keeper.put_activation(activation)

    def wait_for_room(self, *, timeout_s: float) -> bool:
        return self._keeper.wait_for_room(timeout_s=timeout_s)


class MortalContainers:
    """See `ports.Containers`. What runs in a container when its node dies runs on, and nobody hears of it."""

    def __init__(self, inner: Containers, death: Death) -> None:
        self._inner = inner
        self._death = death

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        self._inner.start(id, kind=kind, memory_mb=memory_mb, key=key, on_exit=on_exit)

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        with self._death.lock:
            if self._death.has_come:
                raise ContainerError("the dead ask nothing")
        return self._inner.post(id, path, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        return self._inner.transform(id, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        return self._inner.begin_log(id, limit_bytes=limit_bytes, mark=mark)

    def pause(self, id: ContainerId) -> None:
        self._inner.pause(id)

    def resume(self, id: ContainerId) -> None:
        self._inner.resume(id)

    def remove(self, id: ContainerId) -> Ending | None:
        return self._inner.remove(id)

    def close(self) -> None:
        self._inner.close()
