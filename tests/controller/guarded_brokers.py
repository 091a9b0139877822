"""The tests' broker behind a door: TLS, with certificates of a test's own, or a login, or both.

The door is real and stands in the relay: TLS is the standard library's, and both sides of a login (PLAIN, and SCRAM
by RFC 5802) are checked. Behind it the broker speaks as ever; it has neither certificates nor, in memory, users.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from brokers import TRIES, UP_S, Broker, NoBroker
from certificates import Certified
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka_relay import Address, KafkaRelay

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
ROUNDS = 4096

Step = Callable[
    [bytes], "tuple[bytes, Step | None] | None"
]  # what is answered, and what comes then; None: a stranger


class GuardedBroker(Broker):
    """One that only `known` gets to: what librdkafka is told."""

    def __init__(self, folder: Path, relay: Callable[[Address, socket.socket], KafkaRelay], known: Mapping[str, str]):
        self._known = known
        super().__init__(folder, relay)  # type: ignore[arg-type]

    def wait_until_up(self) -> None:
        for left in reversed(range(TRIES)):
            try:
                AdminClient({"bootstrap.servers": self.hosts, "log_level": 0, **self._known}).list_topics(
                    timeout=UP_S
                )
                return
            except KafkaException as error:
                if not left:
                    raise NoBroker(f"tansu does not answer behind its door: {error}") from error
                self.kill()
                self._process = self._start()


@contextlib.contextmanager
def running(
    folder: Path,
    known: Mapping[str, str],
    *,
    context: ssl.SSLContext | None = None,
    users: Mapping[str, str] | None = None,
    mechanism: str = "PLAIN",
) -> Iterator[GuardedBroker]:
    """A broker that answers those who speak TLS as the context demands, and who log in as one of the users, if there
    are any."""

    def relay(broker: Address, listener: socket.socket) -> KafkaRelay:
        return _Door(broker, listener, context, users, mechanism)

    with contextlib.closing(GuardedBroker(folder, relay, known)) as made:
        made.wait_until_up()
        yield made


def server_context(folder: Path, server: Certified, *, clients: Certified | None = None) -> ssl.SSLContext:
    """TLS as a broker speaks it; `clients` vouches for those who may speak to it, if not everybody may."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.write_pem(folder / "server.pem"))
    if clients is not None:
        context.load_verify_locations(cadata=clients.pem().decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Door(KafkaRelay):
    def __init__(
        self,
        broker: Address,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        users: Mapping[str, str] | None,
        mechanism: str,
    ) -> None:
        self._context = context
        self._users = users
        self._mechanism = mechanism
        self._talks: dict[socket.socket, Step] = {}  # by the connection to the broker
        self._welcome: set[socket.socket] = set()
        super().__init__(broker, listener)

    def _pass(self, near: socket.socket) -> None:
        if self._context is None:
            super()._pass(near)
            return
        try:
            secured = self._context.wrap_socket(near, server_side=True)
        except OSError:  # an error of TLS is one, too: whoever it is does not come in
            near.close()
        else:
            super()._pass(secured)

    def _answer(self, request: bytes, far: socket.socket) -> bytes:
        key, _, number = struct.unpack_from(">hhi", request)
        if self._users is None or key == API_VERSIONS or far in self._welcome:
            return super()._answer(request, far)
        said = _body(request)
        head = struct.pack(">i", number)
        if key == SASL_HANDSHAKE:
            (length,) = struct.unpack_from(">h", said)
            offered = struct.pack(">ih", 1, len(self._mechanism)) + self._mechanism.encode()
            if said[2 : 2 + length].decode() != self._mechanism:
                return head + struct.pack(">h", UNSUPPORTED_MECHANISM) + offered
            self._talks[far] = _plain(self._users) if self._mechanism == "PLAIN" else _Scram(self._users).first
            return head + struct.pack(">h", 0) + offered
        if key == SASL_AUTHENTICATE and far in self._talks:
            found = self._talks[far](said[4:])
            if found is None:
                words = b"Authentication failed: Invalid username or password"
                return head + struct.pack(">hh", AUTHENTICATION_FAILED, len(words)) + words + struct.pack(">iq", 0, 0)
            answer, more = found
            if more is not None:
                self._talks[far] = more
            else:
                self._welcome.add(far)
            return head + struct.pack(">hhi", 0, -1, len(answer)) + answer + struct.pack(">q", 0)
        raise EOFError  # nobody is let in without a login


def _body(request: bytes) -> bytes:
    """Behind the head: key, version, number, and the client's name."""
    (length,) = struct.unpack_from(">h", request, 8)
    return request[10 + max(length, 0) :]


def _plain(users: Mapping[str, str]) -> Step:
    def check(said: bytes) -> tuple[bytes, Step | None] | None:
        _, name, password = said.split(b"\0")
        return (b"", None) if users.get(name.decode()) == password.decode() else None

    return check


class _Scram:
    """The server's side of SCRAM-SHA-256."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self._salt = secrets.token_bytes(16)
        self._said = ""  # so far, by both

    def first(self, said: bytes) -> tuple[bytes, Step | None] | None:
        bare = said.decode().removeprefix("n,,")
        fields = _fields(bare)
        self._password = self._users.get(fields["n"])
        self._nonce = fields["r"] + secrets.token_hex(8)
        answer = f"r={self._nonce},s={base64.b64encode(self._salt).decode()},i={ROUNDS}"
        self._said = f"{bare},{answer}"
        return None if self._password is None else (answer.encode(), self._last)

    def _last(self, said: bytes) -> tuple[bytes, Step | None] | None:
        fields = _fields(said.decode())
        salted = hashlib.pbkdf2_hmac("sha256", (self._password or "").encode(), self._salt, ROUNDS)
        whole = f"{self._said},{said.decode().rpartition(',p=')[0]}".encode()
        client_key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(client_key).digest(), whole)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if fields["r"] != self._nonce or base64.b64decode(fields["p"]) != proof:
            return None
        return b"v=" + base64.b64encode(_mac(_mac(salted, b"Server Key"), whole)), None


def _mac(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, said, "sha256")


def _fields(said: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in said.split(",")}
