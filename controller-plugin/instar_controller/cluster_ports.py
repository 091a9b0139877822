"""What the engines of a cluster need from the outside world, beside `ports`: a message bus and a shared database.

One rule: as in `ports`, a port has few methods and promises only what each of its makers keeps; one contract suite
runs over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from instar_controller.whisk.activation import Activation
from instar_controller.whisk.values import JsonObject


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a topic. `written_ms` is when it was sent, epoch milliseconds."""

    partition: int
    offset: int
    value: bytes
    written_ms: int


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a topic is made, if it is not there yet."""

    partitions: int = 1
    replication: int = 1
    retention_ms: int = 172_800_000
    retention_bytes: int = 1 << 30
    segment_bytes: int = 1 << 29
    max_message_bytes: int = (1 << 20) + 6068


@dataclass(frozen=True, slots=True)
class Position:
    """How far a group has come in one partition: the next offset that it wants, and a note of its own."""

    offset: int
    note: str = ""


class From(Enum):
    """Where a reader begins whose group has no position yet, or one that the topic no longer holds."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Subscription(Protocol):
    """One reader of one topic, in the name of a group. It reads all partitions, and it alone does.

    For one thread at a time. Every method may raise `BusError`; then it may be called again, and nothing was
    skipped.

    If the topic is lost and made anew the reader goes on with the new one, from `begin`; so an offset may be lower
    than the one before it.
    """

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        """The next messages, in order within a partition, at most `most`; empty when time is up."""

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Keep the group's position in these partitions; when it returns the bus has them. A position goes with its
        topic: those in partitions of a topic made anew of which nothing was read yet are of the old one."""

    def positions(self) -> Mapping[int, Position]:
        """What the group had last committed when this reader began, by partition; those without any are left out."""

    def ends(self) -> Mapping[int, int]:
        """Where each partition ended when this reader began: the offset that its next message was to have."""

    def close(self) -> None:
        """Read no more. Commits nothing."""


class Bus(Protocol):
    """Topics of messages, kept by somebody else. Safe for several threads, but for what `subscribe` returns."""

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        """Make a topic unless there is one. Raises `BusError`."""

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        """Read a topic from where the group was last, or else from `begin`. Raises `BusError`."""

    def send(self, topic: str, value: bytes) -> Future[None]:
        """Have a message sent; the future is done when the bus has it. Messages of one topic keep their order.

        The future fails with `BusError` if the bus did not take it within its limit, `MessageTooLargeError` if it
        never will. Never blocks for longer than it takes to hand the message on, and never raises.
        """

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        """What another reader's group has committed, by partition. Raises `BusError`."""

    def is_up(self) -> bool:
        """Whether the bus has answered lately; for those who ask how we are. Never blocks."""

    def close(self) -> None:
        """Send what is on its way, as far as that is quickly done, and let go."""


@dataclass(frozen=True, slots=True)
class SlateLine:
    """How far one life of a node had come in its topic, by partition, when it wrote this. Its serial numbers grow."""

    life: str
    serial: int
    positions: Mapping[int, Position]


class Slate(Protocol):
    """Where a node notes from message to message how far it has come. What is written outlives the program that has
    written it, and need not outlive the machine. For one thread at a time.
    """

    def read(self, life: str) -> SlateLine | None:
        """The last line of this life; None if there is none any more, or the machine has started anew since. It is
        still there after the next `write`. Raises `StoreError`."""

    def write(self, line: SlateLine) -> None:
        """Keep this line, and the last one before it. Raises `StoreError`; then that one is still there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One document that was created, updated or deleted."""

    id: str
    revision: str
    is_deleted: bool
    document: JsonObject | None  # as it is now; None if it is deleted


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of a database, oldest first, and where to go on: each document once, as it is at the end."""

    entries: Sequence[Change]
    next: str


class Entities(Protocol):
    """The database in which OpenWhisk keeps actions. We read it, nothing else. Safe for several threads.

    Every method may raise `StoreError`: it does not answer, or not in time, or with a failure of its own.
    """

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        """The document of this id, `_id` and `_rev` included: of that revision, or the latest one.

        Raises `NotFoundError`: there is none, or it is deleted, or not of that revision any more.
        """

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        """An attachment of a document. Raises `NotFoundError`."""

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        """What changed after `since` ("0": ever; "now": from here on); waits for `timeout_s` if that is nothing."""


class Subjects(Protocol):
    """The database in which OpenWhisk keeps who may do what."""

    def blocked(self, namespaces: Sequence[str]) -> frozenset[str]:
        """Those of these namespaces whose actions must not run. Raises `StoreError`."""


class Records(Protocol):
    """Where activation records go. Safe for several threads."""

    def put_activation(self, activation: Activation) -> None:
        """Write a record, whole; return when it will survive. One that is there stays as it is: an activation has one
        record. Raises `StoreError`."""


class Documents(Protocol):
    """A database of JSON documents that is ours, and that several may write. It is made when it is first used.

    Safe for several threads, and can be sent to another process. Every method may raise `StoreError`. Two that are
    the same database are equal.
    """

    def find(self, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        """The documents of these ids, by id, `_id` and `_rev` included; those that are not there are left out."""

    def under(self, prefix: str) -> Mapping[str, str]:
        """The ids that begin like this, and the revisions of their documents."""

    def put(self, documents: Sequence[JsonObject]) -> Sequence[str | None]:
        """Write documents of different ids, each if what is stored has its `_rev` (none: if there is none);
        `_deleted` deletes it.

        Returns the new revisions; None for a document that was changed meanwhile, which stays as it is.
        """

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        """See `Entities.changes`; but the entries have no documents."""

    def __hash__(self) -> int:
        """Of the database."""
