"""An engine over containers made of threads and a store in memory, and what a test can do to them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory import MemoryStore, MemoryWeights
from instar_controller.clients.threads import ThreadContainers
from instar_controller.engines.invoker import EngineSettings, Invoker
from instar_controller.engines.orders import Remove
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import ContainerError, StoreError
from instar_controller.policies.estimates import Estimate, nothing_known
from instar_controller.policies.lifecycle import State
from instar_controller.policies.observations import Observation
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Delivery, Ending, PendingLog
from instar_controller.whisk.action import Action
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.invocation import ContainerKey, Invocation
from instar_controller.whisk.response import Outcome
from instar_controller.whisk.weights import Amounts

WAIT_S = 60.0  # for anything that is sure to happen


class WatchedStore(MemoryStore):
    """A store whose writes can be waited for, or made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.written: queue.SimpleQueue[Activation] = queue.SimpleQueue()
        self.refused: queue.SimpleQueue[ActivationId] = queue.SimpleQueue()
        self.is_full = False

    def put_activation(self, activation: Activation) -> None:
        if self.is_full:
            self.refused.put(activation.activation_id)
            raise StoreError("the disk is full")
        super().put_activation(activation)
        self.written.put(activation)


class RiggedContainers:
    """Containers made of threads whose every start and exchange a test may forestall."""

    def __init__(self, world: dict[str, object]) -> None:
        self.threads = ThreadContainers(world)
        self.before_start: Callable[[ContainerId], None] = lambda _: None
        self.before_post: Callable[[ContainerId, str], Outcome | None] = lambda *_: None
        self.before_pause: Callable[[ContainerId], None] = lambda _: None
        self.before_resume: Callable[[ContainerId], None] = lambda _: None
        self.asleep: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
        self.awake: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
        self.begun: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
        self.removed: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        self.begun.put(id)
        self.before_start(id)
        self.threads.start(id, kind=kind, memory_mb=memory_mb, key=key, on_exit=on_exit)

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        forestalled = self.before_post(id, path)
        if forestalled is not None:
            return forestalled
        return self.threads.post(id, path, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        forestalled = self.before_post(id, "/transform")
        if forestalled is not None:
            return forestalled
        return self.threads.transform(id, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        return self.threads.begin_log(id, limit_bytes=limit_bytes, mark=mark)

    def pause(self, id: ContainerId) -> None:
        self.before_pause(id)
        self.threads.pause(id)
        self.asleep.put(id)

    def resume(self, id: ContainerId) -> None:
        self.before_resume(id)
        self.threads.resume(id)
        self.awake.put(id)

    def remove(self, id: ContainerId) -> Ending | None:
        ending = self.threads.remove(id)
        self.removed.put(id)
        return ending

    def close(self) -> None:
        self.threads.close()


class RiggedWeights:
    """Weights in memory: each is told of before it is sent for, and a test may make it a mistake of ours."""

    def __init__(self) -> None:
        self.memory = MemoryWeights()
        self.begun: queue.SimpleQueue[Invocation] = queue.SimpleQueue()
        self.deliveries: list[WatchedDelivery] = []
        self.before_begin: Callable[[Invocation], None] = lambda _: None

    def begin(self, invocation: Invocation) -> Delivery:
        self.begun.put(invocation)
        self.before_begin(invocation)
        self.deliveries.append(WatchedDelivery(self.memory.begin(invocation)))
        return self.deliveries[-1]

    def prepare(self, action: Action, revision: int | str, read_code: Callable[[], str]) -> None:
        self.memory.prepare(action, revision, read_code)

    def close(self) -> None:
        self.memory.close()


class WatchedDelivery:
    """A delivery that knows whether somebody still holds it."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self.is_closed = False

    def amounts(self) -> Amounts | None:
        assert not self.is_closed, "nobody may ask any more"
        return self._delivery.amounts()

    def lean_code(self) -> str | None:
        assert not self.is_closed, "nobody may ask any more"
        return self._delivery.lean_code()

    def close(self) -> None:
        self.is_closed = True
        self._delivery.close()


class Engine:
    """All of it. `gate` and `reached` are events that the functions see among their global names."""

    def __init__(
        self,
        pool: PoolSettings,
        settings: EngineSettings,
        estimate: Estimate = nothing_known,
        on_seen: Callable[[Observation], None] = lambda _: None,
    ) -> None:
        self.gate = threading.Event()
        self.reached = threading.Event()
        self.store = WatchedStore()
        self.weights = RiggedWeights()
        self.containers = RiggedContainers({"gate": self.gate, "reached": self.reached})
        self.up: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
        self.gone: queue.SimpleQueue[tuple[Remove, Ending | None]] = queue.SimpleQueue()
        self.invoker = Invoker(
            self.containers,
            self.store,
            SystemClock(),
            self.weights,
            pool=pool,
            settings=settings,
            estimate=estimate,
            on_seen=on_seen,
            on_up=lambda start: self.up.put(start.container),
            on_removed=lambda remove, ending: self.gone.put((remove, ending)),
        )
        self.invoker.start()

    def submit(self, job: Invocation) -> Future[Activation]:
        return self.invoker.submit(job)

    def run(self, job: Invocation) -> Activation:
        """The activation as a blocking caller gets it."""
        return self.submit(job).result(WAIT_S)

    def run_to_the_end(self, job: Invocation) -> Activation:
        """The same; its container is idle when this returns."""
        done = self.run(job)
        while self.record().activation_id != done.activation_id:  # is written last
            pass
        return done

    def record(self) -> Activation:
        """The next record that is written."""
        return self.store.written.get(timeout=WAIT_S)

    def sleeper(self) -> ContainerId:
        """The next container that is put to sleep; the scheduler knows that it is when this returns."""
        id = self.containers.asleep.get(timeout=WAIT_S)
        deadline_s = time.monotonic() + WAIT_S
        while any(each.id == id and each.state is State.PAUSING for each in self.invoker.containers()):
            assert time.monotonic() < deadline_s, f"{id} is never told to be asleep"
            time.sleep(0.001)
        return id

    def refuse_starts(self) -> None:
        def refuse(id: ContainerId) -> None:
            raise ContainerError(f"no room for {id}")

        self.containers.before_start = refuse

    def close(self, drain_s: float = WAIT_S) -> None:
        self.gate.set()  # nothing of a test runs longer than the test
        self.invoker.close(drain_s=drain_s)


def start_of(activation: Activation) -> object:
    """`cold`, `prewarmed`, `transformed` or `warm`, as the record says; None if no container was had."""
    return None if activation.instar is None else activation.instar["start"]
