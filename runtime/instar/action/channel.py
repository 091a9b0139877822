"""The stream socket between the proxy and a worker, as whole frames.

The rule: a wait ends when a frame is there or when the peer cannot send one any more, and never before a frame
that is already on its way is read. A socket alone does not show a death, since user code may have forked and
its children keep the socket open; so the proxy also watches the worker itself, by a pidfd.

An answer is taken only with the number of its question, which is drawn anew each time: what a function wrote to the
socket before the question came cannot be the answer to it.
"""

from __future__ import annotations

import os
import select
import socket

from instar.action.frames import HEADER, Message, decode_message, encode_message, number_of, payload_bytes
from instar.errors import ProcessError, ProtocolError


class Channel:
    """One end, and with it a descriptor of the peer's process. Owned by one thread at a time."""

    def __init__(self, connection: socket.socket, *, limit_bytes: int, peer_pidfd: int | None = None) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._limit_bytes = limit_bytes
        self._peer = peer_pidfd
        self._asked = 0  # the number of the question that waits for our answer

    def ask(self, question: Message) -> Message:
        """The answer. Raises `ProcessError` when the peer has gone, `ProtocolError` for what is no answer to this."""
        number = int.from_bytes(os.urandom(8))
        self._send(question, number)
        header = self._header()
        if number_of(header) != number:
            raise ProtocolError("the peer answers what it was not asked")
        return self._rest(header)

    def receive(self) -> Message:
        """The next question. Raises `ProcessError` when the peer has gone, `ProtocolError` for what is no frame."""
        header = self._header()
        self._asked = number_of(header)
        return self._rest(header)

    def answer(self, answer: Message) -> None:
        """Answer the last question. Raises `ProcessError` when the peer has gone."""
        self._send(answer, self._asked)

    def _send(self, frame: Message, number: int) -> None:
        for part in encode_message(frame, number):
            view = memoryview(part)
            while view:
                self._await(select.POLLOUT)
                try:
                    view = view[self._connection.send(view) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise ProcessError(f"the peer does not read any more: {error}") from error

    def is_quiet(self) -> bool:
        """Whether the peer lives and has nothing to say, as it must between an answer and the next question."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)  # also the end of file
        if self._peer is not None:
            poll.register(self._peer, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._connection.close()
        if self._peer is not None:
            os.close(self._peer)

    def _header(self) -> bytes:
        return bytes(self._exactly(HEADER.size))

    def _rest(self, header: bytes) -> Message:
        payload = self._exactly(payload_bytes(header, limit=self._limit_bytes))
        return decode_message(header, bytes(payload))

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._await(select.POLLIN)
            try:
                got = self._connection.recv_into(view)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ProcessError(f"the peer does not answer any more: {error}") from error
            if got == 0:
                raise ProcessError("the peer has closed its end")
            view = view[got:]
        return data

    def _await(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._connection, event)
        if self._peer is not None:
            poll.register(self._peer, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if self._connection.fileno() not in ready:
            raise ProcessError("the peer has ended")
