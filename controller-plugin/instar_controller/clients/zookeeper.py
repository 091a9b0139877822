"""The numbers of invokers in ZooKeeper: see `engines.numbering.Numbers`.

One rule: nothing waits for longer than it is told, and nothing of the library leaves this file. A connection is made
for one question and given up afterwards: a number is asked for once in a program's life.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError, RolledBackError
from kazoo.exceptions import RuntimeInconsistency as NotTried
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from instar_controller.errors import SettingsError, StoreError
from instar_controller.policies.numbering import Entry, Roll
from instar_controller.whisk import invoker_numbers

logger = logging.getLogger(__name__)

CONNECT_S = 3.0  # after which a signal is heard, and another attempt made
ANSWER_S = 10.0
SESSION_S = 6.0  # so long, too, the library waits for a server that it has reached and that says nothing

_CHANGED = (BadVersionError, NodeExistsError, NoNodeError)  # by others, since we had looked
_NOT_DONE = (RolledBackError, NotTried)  # for the sake of another part of the same transaction


@contextlib.contextmanager
def numbers(hosts: str) -> Iterator[ZooKeeperNumbers]:
    """A connection to these servers, `host:port` with commas between them, and perhaps a path that all is below.

    Raises `StoreError` if none of them answers, or something goes wrong while it is used.
    """
    quiet = logging.getLogger(f"{__name__}.library")
    quiet.setLevel(logging.CRITICAL)  # outages are told once, by whoever waits
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5)
    client = KazooClient(hosts, timeout=SESSION_S, connection_retry=retry, logger=quiet)
    try:
        if not client.start_async().wait(CONNECT_S):
            raise StoreError(
                f"no ZooKeeper answers at {hosts} within {CONNECT_S:g} s; see whether it runs, or give a number"
            )
        if client.chroot and _answer(client.exists_async("/")) is None:
            raise StoreError(f"ZooKeeper at {hosts} has no {client.chroot}; make it, or leave the path out")
        yield ZooKeeperNumbers(client, hosts)
    except (KazooException, KazooTimeoutError) as error:
        said = str(error) or type(error).__name__
        raise StoreError(f"ZooKeeper at {hosts} does not do what it is asked: {said}") from error
    finally:
        for end in (client.stop, client.close):
            with contextlib.suppress(KazooException, KazooTimeoutError):  # its session ends by itself
                end()


class ZooKeeperNumbers:
    """See `engines.numbering.Numbers`. For one thread, as long as `numbers` lasts."""

    def __init__(self, client: KazooClient, hosts: str) -> None:
        self._client = client
        self._hosts = hosts
        self._version = 0  # of the counter, when it was read
        self._changed = threading.Event()

    def read(self) -> Roll:
        """Raises `SettingsError` if the counter is none."""
        data, self._version = self._counter()
        try:
            count = invoker_numbers.decode_count(data)
        except ValueError as error:
            raise SettingsError(
                f"{invoker_numbers.COUNTER} in ZooKeeper at {self._hosts}: {error}; somebody else has written it: "
                "remove it, and it is made anew"
            ) from error
        changed = self._changed = threading.Event()
        names = _answer(self._client.get_children_async(invoker_numbers.MAPPING, watch=lambda _: changed.set()))
        asked = {name: self._client.get_async(invoker_numbers.node_of(name)) for name in names}
        found = {name: _found(one) for name, one in asked.items()}
        return Roll({name: _number(data) for name, data in found.items() if data is not None}, count)

    def wait_for_names(self, timeout_s: float) -> None:
        self._changed.wait(timeout_s)

    def write(self, entry: Entry) -> bool:
        """The counter is written whatever is done, so that whoever has read it earlier has to read again."""
        node, data = invoker_numbers.node_of(entry.name), invoker_numbers.encode(entry.number)
        transaction = self._client.transaction()
        transaction.set_data(invoker_numbers.COUNTER, invoker_numbers.encode_count(entry.names), self._version)
        for loser in entry.losers:
            transaction.delete(invoker_numbers.node_of(loser))
        if entry.is_new:
            transaction.create(node, data)
        else:
            transaction.set_data(node, data)
        failed = [each for each in _answer(transaction.commit_async()) if isinstance(each, Exception)]
        for error in failed:
            if not isinstance(error, (*_CHANGED, *_NOT_DONE)):
                raise error
        return not failed

    def _counter(self) -> tuple[bytes, int]:
        """The counter and its version; it is made, as everything above and beside it, if it is not there."""
        try:
            data, state = _answer(self._client.get_async(invoker_numbers.COUNTER))
            _answer(self._client.ensure_path_async(invoker_numbers.MAPPING))
        except NoNodeError:
            _answer(self._client.ensure_path_async(invoker_numbers.MAPPING))
            with contextlib.suppress(NodeExistsError):  # somebody else was quicker
                _answer(self._client.create_async(invoker_numbers.COUNTER, invoker_numbers.encode_count(0)))
            data, state = _answer(self._client.get_async(invoker_numbers.COUNTER))
        return data, state.version


def _answer(asked: Any) -> Any:
    return asked.get(timeout=ANSWER_S)


def _found(asked: Any) -> bytes | None:
    """A node's data; None if it has gone meanwhile."""
    try:
        data: bytes = _answer(asked)[0]
    except NoNodeError:
        return None
    return data


def _number(data: bytes) -> int | None:
    try:
        return invoker_numbers.decode(data)
    except ValueError:
        return None
