"""One worker's time with the executor: its models are loaded, its questions answered, until it has gone.

The rule: when the worker goes its models are closed, all but the one that was promised to the next function. A worker
that cannot be answered loses its session; a call that waits for weights ends when the stay does.

When nobody has asked anything for a moment, the models rest: whoever has them transformed then waits for less.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from instar.errors import BusyError, InstarError, PackageError
from instar.executor.live import LiveModel
from instar.executor.meter import NOTHING, Counter
from instar.executor.protocol import FRAME_BYTES, Open
from instar.executor.session import Session
from instar.executor.stores import Stores

IDLE_S = 1.0

Handed = dict[str, LiveModel]  # by package directory: what an earlier function's models have become


class Stay:
    """Owns its connection and its models. One thread serves it; any other may look, promise and `end` it."""

    def __init__(self, frame: Open, connection: socket.socket) -> None:
        self._frame = frame
        self._connection = connection
        self._connection.setblocking(False)
        self._folders = dict(frame.models)
        self._models: dict[str, LiveModel] = {}
        self._promised: LiveModel | None = None
        self._counted = NOTHING  # of what these models have cost
        self._has_ended = False
        self._lock = threading.Lock()

    def serve(self, stores: Stores, handed: Handed, counter: Counter, *, arena_bytes: int) -> None:
        """Load, and answer until the worker goes or the stay is ended; then close what is not promised.

        Takes over all that is `handed`: what is not for one of its models is closed.
        """
        try:
            load = partial(self._load, stores, handed)
            found = {name: load(name) for name in self._folders}
            _close(handed)
            session = Session(found, arena_bytes=arena_bytes, load=load)
            while self._exchange(session, stores, counter):
                pass
        finally:
            self.end()
            self._connection.close()
            self._count(counter)
            for model in self._models.values():
                if model is not self._promised:
                    model.close()
            _close(handed)

    def find(self, digest: str) -> tuple[LiveModel, Path] | None:
        """A model of this digest, and its package, if there is one that is neither dirty nor in use."""
        with self._lock:
            for name, model in self._models.items():
                if model.digest == digest and not (model.is_dirty or model.is_used or self._has_ended):
                    return model, Path(self._folders[name])
        return None

    def promise(self, model: LiveModel) -> None:
        """End the stay and keep this model of it for whoever comes next. Raises `BusyError` if it is in use."""
        with self._lock:
            if self._has_ended or model.is_used:
                raise BusyError(f"model {model.digest[:16]}… is in use, or its function has just gone")
            self._promised = model
        self.end()

    def end(self) -> None:
        """Have it end soon: nothing is waited for any more, what is being computed is computed to its end."""
        with self._lock:
            if self._has_ended:  # what was promised may be another model by now, whose weights are waited for
                return
            self._has_ended = True
            for model in self._models.values():
                model.abandon()
        with suppress(OSError):  # closed already
            self._connection.shutdown(socket.SHUT_RDWR)

    def _load(self, stores: Stores, handed: Handed, name: str) -> LiveModel | InstarError:
        folder = self._folders[name]
        try:
            stock = stores.of(self._frame.store, self._frame.own)
            model = handed.pop(folder, None) or stock.begin(Path(folder))
        except InstarError as error:
            return error
        except Exception as error:  # of torch or the system, for a package that nothing above has foreseen
            return PackageError(f"model {name!r} cannot be loaded: {type(error).__name__}: {error}")
        with self._lock:
            self._models[name] = model
            if self._has_ended:
                model.abandon()
        return model

    def _exchange(self, session: Session, stores: Stores, counter: Counter) -> bool:
        """Answer one frame. Returns whether there may be another."""
        try:
            self._await(stores)
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

    def _await(self, stores: Stores) -> None:
        """Return when there is something to read. Rest once, if that takes long."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        if not poll.poll(IDLE_S * 1000):
            self._rest(stores)
            poll.poll()

    def _rest(self, stores: Stores) -> None:
        for name, model in self._models.items():
            stock = stores.of(self._frame.store, self._frame.own)
            model.rest()
            with suppress(InstarError):  # whoever wants to transform it is told
                stock.skeleton(model.structure_digest, Path(self._folders[name]))

    def _count(self, counter: Counter) -> None:
        spent = sum((model.spent() for model in self._models.values()), NOTHING)
        counter.add(spent - self._counted)
        self._counted = spent


def _close(handed: Handed) -> None:
    while handed:
        handed.popitem()[1].close()
