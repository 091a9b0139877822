"""The executor: the long-lived process that holds the live models and runs them for the worker.

The rule: no worker, however it behaves, ends it or makes it wait for ever. A worker that cannot be answered loses its
session; a call that waits for weights ends when its worker has gone or another one comes. No user code runs here,
only validated graphs.

Two threads: the main one loads and runs, always the same, for torch keeps a pool of threads for each that computes;
the other watches who comes and goes. It is forked by the zygote and ends with it.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from instar.errors import InstarError, PackageError
from instar.executor import packets
from instar.executor.live import LiveModel
from instar.executor.load import begin
from instar.executor.meter import NOTHING, Counter
from instar.executor.protocol import FRAME_BYTES, Open, decode_open
from instar.executor.session import Session
from instar.weights.fetch import Fetcher
from instar.weights.retry import Patience
from instar.weights.store import Store

STACK_BYTES = 1 << 20  # of a thread that reads weights: the usual eight would be taken from what models may have


def serve(control: socket.socket, *, arena_bytes: int, meter: int, fetch_deadline_s: float) -> NoReturn:
    """Be the executor of the zygote at the other end of `control` until it goes. `meter` is the page to count on."""
    threading.stack_size(STACK_BYTES)
    stays: queue.SimpleQueue[Stay] = queue.SimpleQueue()
    threading.Thread(target=_watch, args=(control, stays), name="watch", daemon=True).start()
    counter = Counter(meter)
    fetchers = Fetchers(Patience(deadline_s=fetch_deadline_s))
    while True:
        stays.get().serve(fetchers, counter, arena_bytes=arena_bytes)


def _watch(control: socket.socket, stays: queue.SimpleQueue[Stay]) -> NoReturn:
    """Take in new workers, and end the stay of one that has gone; the process with the zygote."""
    try:
        current: tuple[Stay, socket.socket] | None = None
        while True:
            poll = select.poll()
            poll.register(control, select.POLLIN)
            if current is not None:
                poll.register(current[1], 0)  # only its end
            ready = {descriptor for descriptor, _ in poll.poll()}
            if current is not None and (current[1].fileno() in ready or control.fileno() in ready):
                current[0].end()
                current[1].close()
                current = None
            if control.fileno() in ready:
                data, descriptor = packets.receive(control, FRAME_BYTES)
                if descriptor is None:
                    os._exit(0)
                connection = socket.socket(fileno=descriptor)
                current = Stay(decode_open(data), connection), connection.dup()
                stays.put(current[0])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


class Stay:
    """One worker's time with the executor. Owns its connection and its models.

    One thread serves it; any other may `end` it.
    """

    def __init__(self, frame: Open, connection: socket.socket) -> None:
        self._frame = frame
        self._connection = connection
        self._connection.setblocking(False)
        self._models: dict[str, LiveModel] = {}
        self._counted = NOTHING  # of what these models have cost
        self._has_ended = False
        self._lock = threading.Lock()

    def serve(self, fetchers: Fetchers, counter: Counter, *, arena_bytes: int) -> None:
        """Load, and answer until the worker goes or the stay is ended. Whatever was mapped is unmapped then."""
        try:
            load = partial(self._load, dict(self._frame.models), fetchers)
            session = Session(
                {name: load(name) for name, _ in self._frame.models}, arena_bytes=arena_bytes, load=load
            )
            while self._exchange(session, counter):
                pass
        finally:
            self.end()
            self._connection.close()
            self._count(counter)
            for model in self._models.values():
                model.close()

    def end(self) -> None:
        """Have it end soon: nothing is waited for any more, what is being computed is computed to its end."""
        with self._lock:
            self._has_ended = True
            for model in self._models.values():
                model.abandon()
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed already
            return

    def _load(self, paths: Mapping[str, str], fetchers: Fetchers, name: str) -> LiveModel | InstarError:
        node = Path(self._frame.store)
        own = Path(self._frame.own) if _may_only_be_read(node) else None
        try:
            model = begin(Path(paths[name]), fetcher=fetchers.of(node, own), own=own)
        except InstarError as error:
            return error
        except Exception as error:  # of torch or the system, for a package that nothing above has foreseen
            return PackageError(f"model {name!r} cannot be loaded: {type(error).__name__}: {error}")
        with self._lock:
            self._models[name] = model
            if self._has_ended:
                model.abandon()
        return model

    def _exchange(self, session: Session, counter: Counter) -> bool:
        """Answer one frame. Returns whether there may be another."""
        try:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            poll.poll()
            data = self._connection.recv(FRAME_BYTES + 1)
            if not data or self._has_ended:
                return False
            reply = session.answer(data)
            self._count(counter)  # before the worker knows that its call is over
            try:
                descriptors = [] if reply.descriptor is None else [reply.descriptor]
                socket.send_fds(self._connection, [reply.data], descriptors)
            finally:
                if reply.descriptor is not None:
                    os.close(reply.descriptor)
            return True
        except OSError:  # it has gone, or asks without reading what it is answered
            return False

    def _count(self, counter: Counter) -> None:
        spent = sum((model.spent() for model in self._models.values()), NOTHING)
        counter.add(spent - self._counted)
        self._counted = spent


class Fetchers:
    """One for each store, for as long as the process lives; they have threads only while they fetch."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._of: dict[tuple[Path, Path | None], Fetcher] = {}

    def of(self, root: Path, own: Path | None) -> Fetcher:
        """The fetcher of a store; `own` is another one, for what that cannot take."""
        if (root, own) not in self._of:
            second = None if own is None else Store(own)
            self._of[root, own] = Fetcher(Store(root), own=second, patience=self._patience)
        return self._of[root, own]


def _may_only_be_read(root: Path) -> bool:
    return root.exists() and not os.access(root, os.W_OK)
