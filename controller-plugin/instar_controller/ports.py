"""What the API and the engines need from the outside world and from each other, in our words.

One rule: a port has few methods and promises only what both of its makers keep (one contract suite runs
over each). Times are epoch milliseconds.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from instar_controller.policies.estimates import PlanOffer
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.action import Action
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.invocation import ContainerKey, Invocation
from instar_controller.whisk.response import Outcome, Replied
from instar_controller.whisk.weights import Amounts


@dataclass(frozen=True, slots=True)
class ActivationQuery:
    """Which activations of a namespace a list shows: newest first, `start` between `since_ms` and
    `upto_ms`.
    """

    namespace: str
    name: str | None = None  # `[pkg/]name`
    since_ms: int | None = None
    upto_ms: int | None = None


class Store(Protocol):
    """Documents and activation records, safe for several threads.

    What a `put` or `delete` has returned from survives the process, however that ends. Every method may raise
    `StoreError`.
    """

    def get(self, key: Key) -> Document:
        """The document without its code. Raises `NotFoundError`."""

    def get_code(self, key: Key, revision: int) -> str:
        """The code of that very revision. Raises `NotFoundError` if it has been replaced or deleted
        meanwhile.
        """

    def put(self, document: Document, *, replaces: int | None) -> int:
        """Write a document, whole, if the stored one still has the revision `replaces` (None: if there is
        none).

        Returns the new revision, which no other document ever had. Raises `ConflictError`.
        """

    def delete(self, key: Key, *, revision: int) -> None:
        """Delete a document if it still has that revision. Raises `NotFoundError` or `ConflictError`."""

    def list_documents(
        self,
        collection: Collection,
        namespace: str,
        *,
        package: str | None = None,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Document]:
        """Documents without their code, latest update first; `package` None means all of the namespace."""

    def count_documents(self, collection: Collection, namespace: str, *, package: str | None = None) -> int:
        """How many documents `list_documents` would return without `skip` and `limit`."""

    def put_activation(self, activation: Activation) -> None:
        """Write a record, whole; a record of the same id is replaced (for instance to add its logs)."""

    def get_activation(self, namespace: str, activation_id: ActivationId) -> Activation:
        """One record. Raises `NotFoundError`."""

    def list_activations(self, query: ActivationQuery, *, skip: int, limit: int) -> Sequence[Activation]:
        """The records that `query` selects, newest start first, as a list shows them: without logs and
        result.
        """

    def count_activations(self, query: ActivationQuery) -> int:
        """How many records `query` selects."""

    def close(self) -> None:
        """Let go of the files. Nothing may be called afterwards."""


class Invocations(Protocol):
    """Carries invocations out."""

    def submit(self, invocation: Invocation) -> Future[Activation]:
        """Take an invocation on. From here on exactly one completion is owed: the future gets the finished
        record.

        The record that the future gets may still be without logs; the record with its logs is put into the
        store by whoever carries the invocation out. Raises `OverloadedError` if there is no capacity: then
        nothing is owed.
        """

    def invokers(self) -> Mapping[str, str]:
        """The state of each invoker by its name: `up`, `unhealthy`, `unresponsive` or `down`."""


class Clock(Protocol):
    """The time of day."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote, without its end. `stream` is `stdout` or `stderr`."""

    written_ns: int  # epoch nanoseconds
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """What a container wrote during one activation, in the order in which it was read."""

    lines: Sequence[LogLine]
    is_complete: bool  # both streams were read up to their sentinels
    is_truncated: bool  # there was more than the limit


class PendingLog(Protocol):
    """The log of an activation that is under way. It outlives its container."""

    def collect(self, *, timeout_ms: int) -> Log:
        """The lines up to both sentinels, or whatever there is once both streams have ended or time is up."""

    def collect_until_quiet(self, *, quiet_ms: int, timeout_ms: int) -> Log:
        """The same of a container that may write no sentinels: also whatever there is once nothing more has come for
        `quiet_ms`."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ended by itself.

    `status` is the exit status of its first process, or minus the number of the signal that killed it; None
    if nobody could tell.
    """

    status: int | None
    ran_out_of_memory: bool = False

    def __str__(self) -> str:
        match self.status:
            case None:
                how = "nobody knows how"
            case int(status) if status < 0:
                how = f"killed by {_signal_name(-status)}"
            case status:
                how = f"exit status {status}"
        return f"{how}, out of memory" if self.ran_out_of_memory else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Delivery(Protocol):
    """The weights that one start needs, on their way to this node or there."""

    def amounts(self) -> Amounts | None:
        """What was there when they were sent for, and what has come since; None if none are known to be needed."""

    def lean_code(self) -> str | None:
        """The action's code without weights in it that the node's containers find on the node, for as long as this is
        not closed; None if it is to be sent as it is."""

    def close(self) -> None:
        """Nobody asks any more. What is on its way comes all the same."""


class Weights(Protocol):
    """Sends for the weights of models before their containers are up. Safe for several threads.

    Nobody depends on it: a container fetches what it misses. So no method waits for a source or raises.
    """

    def begin(self, invocation: Invocation) -> Delivery:
        """Send for all weights that this invocation's container will need. Somebody waits for them: they go before
        whatever is fetched in advance.
        """

    def prepare(self, action: Action, revision: int | str, read_code: Callable[[], str]) -> None:
        """Have ready on this node what starts of this action will need, as far as it lies in its archive.

        It may take its time, unlike the others. `read_code` reads the archive, if that is needed; what it raises
        comes through.
        """

    def close(self) -> None:
        """Fetch no more; what has arrived stays. Later deliveries bring nothing."""


class Plans(Protocol):
    """The plans between the models of functions. Safe for several threads.

    It is asked while a request waits and the pool stands still: it never waits and never raises.
    """

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        """How the donor's model becomes the job's; None if no plan is known, or loading is no slower."""


UNTOUCHED = 409  # what `/transform` answers where nothing was begun

# The answer for containers whose runtime has no such endpoint.
NOT_OFFERED = Replied(UNTOUCHED, b"", 0)


class Containers(Protocol):
    """Makes containers, talks to them, and takes them away. Safe for several threads; every method may block.

    The caller gives a container its id and is the only one who removes it. Only the process's end makes a
    container's memory free, so `remove` returns after it.
    """

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        """Make a container; return when it is up, that is, when `/init` would not wait for its boot.

        `key` says which function it is for, None for a stem cell: it is good for names, and for nothing else.

        `on_exit` is called once, from any thread, when a container that came up has ended, `remove` being one
        way. Raises `ContainerError` if it does not come up, or is removed meanwhile; then nothing of it is
        left to remove.
        """

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """One exchange on a connection of its own. Raises `ContainerError` if there was no connection to be
        had: then, and only then, the container has certainly not seen the request.

        If the connection breaks, the container gets a moment to end, so that its end is told by `on_exit`
        before this returns.
        """

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """Have the container become another function; `body` is `messages.transform_body`.

        200: it is the new function now, initialised, and nothing of the old one is left; on both streams of its log
        a line, the body's `mark`, comes after all that the old one wrote and before anything of the new one's.
        409 (`UNTOUCHED`): it does not hold what the plan begins with, or cannot be transformed at all; it is as it
        was. After anything else it is good for removal only. Raises `ContainerError` as
        `post` does.
        """

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        """From here on the container's lines belong to a new activation, of which `limit_bytes` of text are
        kept; with a `mark` only what comes after that line, on each stream, and what lies before it is dropped.
        Raises `ContainerError` if the container has gone.
        """

    def pause(self, id: ContainerId) -> None:
        """Let a container sleep that has nothing to do: until `resume` nothing may be asked of it but to be
        removed. Where sleep would save nothing this does nothing. Raises `ContainerError`; then the container
        is good for removal only.
        """

    def resume(self, id: ContainerId) -> None:
        """Wake a container: it is as it was, its log included. Raises `ContainerError` as `pause` does."""

    def remove(self, id: ContainerId) -> Ending | None:
        """End a container and all that it left on this machine; return when it has gone, with how it had ended
        if it had done so by itself. Never raises; may be called at any time, and again.
        """

    def close(self) -> None:
        """Remove every container that is left, and start no more."""
