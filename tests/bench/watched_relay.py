"""When activations leave the broker for their invoker, and when their answers come back to it.

One rule: it only looks. A clock is read just before the answer to a fetch leaves, and just after a batch has come;
activations are found by the id in their messages, which are not packed.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from dataclasses import dataclass

from kafka_relay import FETCH, PRODUCE, KafkaRelay

ID = re.compile(rb'"activationId": ?"([0-9a-f]{32})"')
ANSWERS = b"completed"  # how the topics of answers begin
HEAD_BYTES = 100  # of a request, in which its first topic is named


@dataclass(slots=True)
class Passage:
    """Of one activation, by the monotonic clock; 0 for what was not seen."""

    left_ns: int = 0  # its message, the first time
    came_ns: int = 0  # its answer: the first message that has its id


class WatchedRelay(KafkaRelay):
    """`taken` gives what was seen since it was last asked, by activation id."""

    def __init__(self, broker: tuple[str, int], listener: socket.socket) -> None:
        self._lock = threading.Lock()
        self._passages: dict[str, Passage] = {}
        super().__init__(broker, listener)

    def taken(self) -> dict[str, Passage]:
        with self._lock:
            taken, self._passages = self._passages, {}
        return taken

    def _answer(self, request: bytes, far: socket.socket) -> bytes:
        (key,) = struct.unpack_from(">h", request)
        if key == PRODUCE and ANSWERS in request[:HEAD_BYTES]:
            now_ns = time.monotonic_ns()
            with self._lock:
                for id in ID.findall(request):
                    passage = self._passages.setdefault(id.decode(), Passage())
                    passage.came_ns = passage.came_ns or now_ns
        answer = super()._answer(request, far)
        if key == FETCH and ANSWERS not in request[:HEAD_BYTES] and (ids := ID.findall(answer)):
            with self._lock:
                now_ns = time.monotonic_ns()
                for id in ids:
                    passage = self._passages.setdefault(id.decode(), Passage())
                    passage.left_ns = passage.left_ns or now_ns
        return answer
