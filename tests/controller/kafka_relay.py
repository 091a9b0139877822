"""A way to a broker for tests that says yes and no where Apache Kafka would, and that can be broken.

The test broker (`brokers`) speaks Kafka's protocol and leaves out some of what Kafka does. This stands in front of it
and adds just that:

* a fetch that finds nothing is answered as soon as a message comes (the broker itself looks again once it has slept
  for the fetch's whole wait, or half of it: up to 250 ms later);
* the note that comes with a committed offset is given back with it (the broker forgets it);
* a batch above `max.message.bytes` of its topic is refused (the broker takes any);
* an offset that a partition does not have is out of range (the broker waits for it);
* a partition ends behind its last message (the broker says: where its last batch began);
* messages of a topic are written one request after the other (of two that write at once the broker may show the later
  batch first, and who follows the topic never sees the other one);
* a topic that was deleted is nobody's to read (the broker takes it for empty), and what was known of it goes with it;
* if `makes_topics` is turned off, no topic is made because somebody asks for it (as with Kafka's
  `auto.create.topics.enable=false`; the broker makes each that somebody wants to write to).

To be able to read what passes, it offers the versions of these requests that have no optional fields: it lowers the
highest version that the broker announces. Everything else passes unread. Requests of one connection are answered one
by one, as Kafka does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PRODUCE, FETCH, LIST_OFFSETS, OFFSET_COMMIT, OFFSET_FETCH, METADATA, API_VERSIONS = 0, 1, 2, 8, 9, 3, 18
CREATE_TOPICS, DELETE_TOPICS = 19, 20
READ = {
    PRODUCE: 3,
    FETCH: 4,
    LIST_OFFSETS: 1,
    OFFSET_COMMIT: 2,
    OFFSET_FETCH: 1,
    CREATE_TOPICS: 2,
    DELETE_TOPICS: 1,
}  # the versions that are read here
AT_END = -1  # asked for as a time
LOOK_MS = 25  # that the broker gets to find something; it takes them all if there is nothing
OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC, MESSAGE_TOO_LARGE = 1, 3, 10
# Where a request for metadata says whether a topic may be made, from its end, by version.
MAY_MAKE = {4: 1, 5: 1, 6: 1, 7: 1, 8: 3, 9: 4, 10: 4, 11: 3, 12: 3, 13: 3}

Address = tuple[str, int]


@dataclass
class _Memory:
    """What Kafka would know, and the broker does not."""

    limits: dict[str, int] = field(default_factory=dict)
    notes: dict[tuple[str, str, int], str | None] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)  # the next offset, as the last writer was told
    written: int = 0  # batches, of any topic
    deleted: set[str] = field(default_factory=set)  # topics that were not made again


class KafkaRelay:
    """Listens on a port of its own; `broker` is the address of what it stands in front of."""

    def __init__(self, broker: Address, listener: socket.socket) -> None:
        self._broker = broker
        self._listener = listener
        self._memory = _Memory()
        self._changed = threading.Condition()
        self._ends: set[socket.socket] = set()
        self._is_broken = False
        self._delay_s = 0.0
        self._is_over = threading.Event()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # to write to a topic
        self._losing = 0
        self._denying = 0
        self._holds_fetches = False
        self.makes_topics = True
        threading.Thread(target=self._accept, name="kafka-relay", daemon=True).start()

    # Faults.

    def cut(self) -> None:
        """Break all connections; new ones are as good as before."""
        with self._changed:
            ends, self._ends = self._ends, set()
            self._changed.notify_all()
        for end in ends:
            _close(end)

    def break_off(self) -> None:
        """Break all connections, and each new one at once, until `mend`."""
        self._is_broken = True
        self.cut()

    def mend(self) -> None:
        self._is_broken = False

    def delay(self, seconds: float) -> None:
        """Let each answer come so much later, from now on."""
        self._delay_s = seconds

    def hold_fetches(self) -> None:
        """Let nobody fetch messages, until `release_fetches`; all else passes."""
        with self._changed:
            self._holds_fetches = True

    def release_fetches(self) -> None:
        with self._changed:
            self._holds_fetches = False
            self._changed.notify_all()

    def deny_offsets(self, count: int) -> None:
        """Say of the next so many fetches that find nothing that their offsets are out of range: they are not."""
        with self._changed:
            self._denying = count
            self._memory.written += 1  # who waits for messages looks again
            self._changed.notify_all()

    @property
    def denies(self) -> bool:
        """Whether any of them are still to come."""
        return self._denying > 0

    def lose_answers(self, count: int) -> None:
        """The broker takes the next so many batches, and nobody learns of it: the connection breaks instead."""
        with self._changed:
            self._losing = count

    def forget(self) -> None:
        """The broker has lost what it had in memory."""
        with self._changed:
            self._memory = _Memory()

    def move(self, broker: Address) -> None:
        """The broker has another address from now on."""
        self._broker = broker

    def close(self) -> None:
        self._is_over.set()
        self.break_off()
        _close(self._listener)

    # What passes.

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(near,), name="kafka-relayed", daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        far = socket.socket()
        with near, far, contextlib.suppress(OSError, EOFError):
            with self._changed:  # whoever breaks off finds it, or it finds that all is broken off
                if self._is_broken:
                    return
                self._ends |= {near, far}
            try:
                far.connect(self._broker)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    answer = self._answer(_receive(near), far)
                    if self._delay_s:
                        self._is_over.wait(self._delay_s)
                    _send(near, answer)
            finally:
                with self._changed:
                    self._ends -= {near, far}

    def _answer(self, request: bytes, far: socket.socket) -> bytes:
        def ask(request: bytes) -> bytes:
            _send(far, request)
            return _receive(far)

        key, version = struct.unpack_from(">hh", request)
        if key == API_VERSIONS:
            return _lowered(ask(request), version)
        if key == METADATA and not self.makes_topics:
            assert version in MAY_MAKE, f"version {version} of a request for metadata is not understood"
            at = len(request) - MAY_MAKE[version]
            return ask(request[:at] + b"\0" + request[at + 1 :])
        if READ.get(key) != version:
            return ask(request)
        acts: dict[int, Callable[[bytes, Callable[[bytes], bytes]], bytes]] = {
            PRODUCE: self._produce,
            FETCH: self._fetch,
            LIST_OFFSETS: self._list,
            OFFSET_COMMIT: self._commit,
            OFFSET_FETCH: self._committed,
            CREATE_TOPICS: self._create,
            DELETE_TOPICS: self._delete,
        }
        return acts[key](request, ask)

    def _produce(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        body = _Reader.of_request(request)
        body.string(), body.take(">hi")
        batches = [
            (topic, body.take(">i")[0], body.bytes()) for topic in body.strings_of_array() for _ in body.array()
        ]
        for topic, partition, batch in batches:
            if len(batch) > self._memory.limits.get(topic, 1 << 31):
                assert len(batches) == 1, "a client that sends several batches at once is not understood"
                return request[4:8] + _refusal(topic, partition)
        with contextlib.ExitStack() as turns:
            for topic in sorted({topic for topic, _, _ in batches}):
                with self._changed:
                    turn = self._turns[topic]
                turns.enter_context(turn)
            answer = ask(request)
            self._note(batches, answer)
        return answer

    def _note(self, batches: list[tuple[str, int, bytes]], answer: bytes) -> None:
        """What was written. Raises `EOFError` if nobody is to learn of it."""
        told = _Reader(answer, 4)
        with self._changed:
            for topic in told.strings_of_array():
                for _ in told.array():
                    partition, error, offset, _ = told.take(">ihqq")
                    counts = [_count(batch) for to, part, batch in batches if (to, part) == (topic, partition)]
                    if not error:
                        self._memory.ends[topic, partition] = offset + sum(counts)
                        self._memory.deleted.discard(topic)
            self._memory.written += 1
            self._changed.notify_all()
            if self._losing:
                self._losing -= 1
                raise EOFError

    def _fetch(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        at = _Reader.of_request(request).at + 4
        (wait_ms,) = struct.unpack_from(">i", request, at)
        deadline_s = time.monotonic() + wait_ms / 1000
        # In 0 ms the broker would not even look, and in 1 ms not far enough in a long topic.
        at_once = request[:at] + struct.pack(">i", LOOK_MS) + request[at + 4 :]
        wanted = _offsets(request)
        with self._changed:
            self._changed.wait_for(lambda: not self._holds_fetches or self._is_broken)
        while True:
            with self._changed:
                seen = self._memory.written
                # Who is at the end of all that it reads need not ask, whatever else is written.
                self._wait(
                    lambda: (
                        bool(self._denying)
                        or any(self._memory.ends.get(at) != offset for at, offset in wanted.items())
                    ),
                    deadline_s,
                )
            answer, is_empty = _checked(wanted, ask(at_once), self._memory.deleted)
            if is_empty and self._denying:
                self._denying -= 1
                return _denied(answer)
            if not is_empty or time.monotonic() >= deadline_s:
                return answer
            with self._changed:
                for place, offset in wanted.items():
                    self._memory.ends.setdefault(place, offset)
                self._wait(lambda: self._memory.written != seen, deadline_s)  # noqa: B023

    def _wait(self, until: Callable[[], bool], deadline_s: float) -> None:
        self._changed.wait_for(lambda: until() or self._is_broken, max(deadline_s - time.monotonic(), 0))

    def _list(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        asked = {}
        body = _Reader.of_request(request)
        body.take(">i")
        for topic in body.strings_of_array():
            for _ in body.array():
                partition, time_ms = body.take(">iq")
                asked[topic, partition] = time_ms
        told = bytearray(ask(request))
        body = _Reader(bytes(told), 4)
        for topic in body.strings_of_array():
            for _ in body.array():
                partition, _, _, offset = body.take(">ihqq")
                if asked[topic, partition] == AT_END:
                    struct.pack_into(">q", told, body.at - 8, self._memory.ends.get((topic, partition), offset))
        return bytes(told)

    def _commit(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        body = _Reader.of_request(request)
        group, _, _, _ = body.string(), body.take(">i"), body.string(), body.take(">q")
        notes = {}
        for topic in body.strings_of_array():
            for _ in body.array():
                partition, _ = body.take(">iq")
                notes[str(group), topic, partition] = body.string()
        answer = ask(request)
        self._memory.notes.update(notes)
        return answer

    def _committed(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        group = _Reader.of_request(request).string()
        answer = ask(request)
        body = _Reader(answer, 4)
        told = answer[:8]
        for topic in body.strings_of_array():
            told += _packed(topic) + answer[body.at : body.at + 4]
            for _ in body.array():
                partition, offset = body.take(">iq")
                note = body.string() or self._memory.notes.get((str(group), topic, partition))
                told += struct.pack(">iq", partition, offset) + _packed(note if offset >= 0 else "")
                told += struct.pack(">h", *body.take(">h"))
        return told

    def _create(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        body = _Reader.of_request(request)
        for topic in body.strings_of_array():
            body.take(">ih")
            for _ in body.array():
                body.take(">i"), [body.take(">i") for _ in body.array()]
            settings = {str(body.string()): body.string() for _ in body.array()}
            if "max.message.bytes" in settings:
                self._memory.limits.setdefault(topic, int(settings["max.message.bytes"] or 0))
            self._memory.deleted.discard(topic)
        return ask(request)

    def _delete(self, request: bytes, ask: Callable[[bytes], bytes]) -> bytes:
        body = _Reader.of_request(request)
        topics = set(body.strings_of_array())
        answer = ask(request)
        with self._changed:
            memory = self._memory
            memory.limits = {topic: it for topic, it in memory.limits.items() if topic not in topics}
            memory.ends = {at: it for at, it in memory.ends.items() if at[0] not in topics}
            memory.notes = {at: it for at, it in memory.notes.items() if at[1] not in topics}
            memory.deleted |= topics
            memory.written += 1  # who waits for messages looks again
            self._changed.notify_all()
        return answer


class _Reader:
    """Reads the protocol's values one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    @classmethod
    def of_request(cls, request: bytes) -> _Reader:
        """Behind its head: key, version, number, and the client's name."""
        reader = cls(request, 8)
        reader.string()
        return reader

    def take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def string(self) -> str | None:
        (length,) = self.take(">h")
        return None if length < 0 else self._piece(length).decode()

    def bytes(self) -> bytes:
        (length,) = self.take(">i")
        return b"" if length < 0 else self._piece(length)

    def array(self) -> range:
        return range(self.take(">i")[0])

    def strings_of_array(self) -> Iterator[str]:
        """The string with which each entry begins; the rest of it is the caller's to read."""
        for _ in self.array():
            yield str(self.string())

    def _piece(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]


def _count(batch: bytes) -> int:
    """How many messages a batch has, by its head."""
    (count,) = struct.unpack_from(">i", batch, 57)
    return int(count)


def _offsets(request: bytes) -> dict[tuple[str, int], int]:
    """What a fetch asks for, by topic and partition."""
    body = _Reader.of_request(request)
    body.take(">iiiib")
    asked = {}
    for topic in body.strings_of_array():
        for _ in body.array():
            partition, offset, _ = body.take(">iqi")
            asked[topic, partition] = offset
    return asked


def _checked(asked: dict[tuple[str, int], int], answer: bytes, deleted: set[str]) -> tuple[bytes, bool]:
    """The answer to a fetch, with an error for offsets and topics that are not there; and whether it says nothing."""
    told = bytearray(answer)
    is_empty = True
    body = _Reader(answer, 8)
    for topic in body.strings_of_array():
        for _ in body.array():
            (partition,) = body.take(">i")
            at = body.at
            error, end, _ = body.take(">hqq")
            for _ in body.array():
                body.take(">qq")
            is_lost = error == 0 and (topic in deleted or asked[topic, partition] > end)
            if is_lost:
                struct.pack_into(">h", told, at, UNKNOWN_TOPIC if topic in deleted else OFFSET_OUT_OF_RANGE)
            is_empty = not body.bytes() and not error and not is_lost and is_empty
    return bytes(told), is_empty


def _denied(answer: bytes) -> bytes:
    """The answer to a fetch, with every offset out of range."""
    told = bytearray(answer)
    body = _Reader(answer, 8)
    for _ in body.strings_of_array():
        for _ in body.array():
            struct.pack_into(">h", told, body.at + 4, OFFSET_OUT_OF_RANGE)
            body.take(">ihqq")
            for _ in body.array():
                body.take(">qq")
            body.bytes()
    return bytes(told)


def _lowered(answer: bytes, version: int) -> bytes:
    """An answer to ApiVersions that offers no later versions of what is read here."""
    told = bytearray(answer)
    at, count, step = 10, 0, 6
    if version < 3:
        (count,) = struct.unpack_from(">i", answer, 6)
    else:  # a compact array, of entries with an empty list of further fields
        at, count, step = 7, answer[6] - 1, 7
        if answer[6] & 0x80:
            at, count = 8, (answer[6] & 0x7F | answer[7] << 7) - 1
    for entry in range(at, at + count * step, step):
        key, _, highest = struct.unpack_from(">hhh", answer, entry)
        struct.pack_into(">h", told, entry + 4, min(highest, READ.get(key, highest)))
    return bytes(told)


def _refusal(topic: str, partition: int) -> bytes:
    partitions = struct.pack(">iihqq", 1, partition, MESSAGE_TOO_LARGE, -1, -1)
    return struct.pack(">i", 1) + _packed(topic) + partitions + struct.pack(">i", 0)


def _packed(text: str | None) -> bytes:
    encoded = (text or "").encode()
    return struct.pack(">h", -1 if text is None else len(encoded)) + encoded


def _receive(end: socket.socket) -> bytes:
    """One request or answer, without its length. Raises `EOFError` where there are no more."""
    (length,) = struct.unpack(">i", _exactly(end, 4))
    return _exactly(end, length)


def _exactly(end: socket.socket, length: int) -> bytes:
    data = end.recv(length)
    while len(data) < length:
        more = end.recv(length - len(data))
        if not data and not more:
            raise EOFError
        if not more:
            raise EOFError
        data += more
    return data


def _send(end: socket.socket, data: bytes) -> None:
    end.sendall(struct.pack(">i", len(data)) + data)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def listen() -> socket.socket:
    """A listener on a free port of the loopback interface."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener
