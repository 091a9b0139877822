"""The executor: the long-lived process that holds the live models and runs them for the worker.

The rule: no worker, however it behaves, ends it or makes it wait for ever. A worker that cannot be answered loses its
session; a call that waits for weights ends when its worker has gone or another one comes. No user code runs here,
only validated graphs.

Two threads: the main one loads, runs and transforms, always the same, for torch keeps a pool of threads for each that
computes; the other watches who comes and goes, and looks proposals through. It is forked by the zygote and ends with
it.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import threading
import traceback
from typing import NoReturn

from instar.errors import InstarError, ProtocolError
from instar.executor import packets, proposals, succession
from instar.executor.meter import Counter
from instar.executor.proposals import Agreed, Declined
from instar.executor.protocol import FRAME_BYTES, Consider, Open, decode_order
from instar.executor.stay import Handed, Stay
from instar.executor.stores import Stores
from instar.executor.succession import Succession
from instar.weights.retry import Patience

STACK_BYTES = 1 << 20  # of a thread that reads weights: the usual eight would be taken from what models may have

Job = Stay | Succession


def serve(control: socket.socket, *, arena_bytes: int, meter: int, fetch_deadline_s: float) -> NoReturn:
    """Be the executor of the zygote at the other end of `control` until it goes. `meter` is the page to count on."""
    threading.stack_size(STACK_BYTES)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    stores = Stores(Patience(deadline_s=fetch_deadline_s))
    watch = Watch(control, jobs, stores)
    threading.Thread(target=watch.run, name="watch", daemon=True).start()
    counter = Counter(meter)
    handed: Handed = {}
    while True:
        match jobs.get():
            case Succession() as agreed:
                agreed.carry_out(handed)
            case Stay() as stay:
                stay.serve(stores, handed, counter, arena_bytes=arena_bytes)


class Watch:
    """Takes in workers and proposals, ends the stay of a worker that has gone, and the process with the zygote."""

    def __init__(self, control: socket.socket, jobs: queue.SimpleQueue[Job], stores: Stores) -> None:
        self._control = control
        self._jobs = jobs
        self._stores = stores
        self._stay: Stay | None = None
        self._worker: socket.socket | None = None  # the connection of that stay, to see its end

    def run(self) -> NoReturn:
        """Never returns, never raises."""
        try:
            while True:
                self._turn()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if self._worker is not None:
            poll.register(self._worker, 0)  # only its end
        ready = {descriptor for descriptor, _ in poll.poll()}
        if self._worker is not None and self._worker.fileno() in ready:
            self._end()
        if self._control.fileno() in ready:
            data, descriptor = packets.receive(self._control, FRAME_BYTES)
            if descriptor is None:
                os._exit(0)
            self._take(data, socket.socket(fileno=descriptor))

    def _take(self, data: bytes, connection: socket.socket) -> None:
        match decode_order(data):
            case Open() as frame:
                self._end()
                self._stay, self._worker = Stay(frame, connection), connection.dup()
                self._jobs.put(self._stay)
            case Consider():
                self._consider(connection)

    def _end(self) -> None:
        if self._stay is not None:
            self._stay.end()
        if self._worker is not None:
            self._worker.close()
        self._stay = self._worker = None

    def _consider(self, proposer: socket.socket) -> None:
        try:
            agreed: Succession | None = None
            answer: Agreed | Declined = Agreed()
            try:
                proposal = proposals.decode(_read(proposer))
                stock = self._stores.of(proposal.store, proposal.own)
                agreed = Succession(succession.consider(proposal, stock, self._stay), stock, proposer)
            except InstarError as error:
                answer = Declined(str(error))
            except Exception as error:  # of the system, for a package that nothing above has foreseen
                answer = Declined(f"the proposal cannot be looked through: {type(error).__name__}: {error}")
            proposer.sendall(proposals.encode_answer(answer))
        except OSError:  # the proxy has gone, and the container with it
            os._exit(0)
        if agreed is None:
            proposer.close()
        else:
            self._jobs.put(agreed)


def _read(proposer: socket.socket) -> bytes:
    data = bytearray()
    while piece := proposer.recv(1 << 18):
        data += piece
        if len(data) > proposals.MAX_BYTES:
            raise ProtocolError(f"a proposal of more than {proposals.MAX_BYTES} bytes")
    return bytes(data)
