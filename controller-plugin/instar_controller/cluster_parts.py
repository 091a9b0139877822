"""What `instar invoker` and `instar dispatcher` are both made of: the way to bus and database, signals, and health.

One rule: nothing outside has to be there when a program starts. It waits, says for what, and is not ready meanwhile;
it is alive all the same, and a signal ends it at any time.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from instar_controller import kafka_security
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.records import CouchRecords
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.metrics import Metrics
from instar_controller.clients.spool import Spool
from instar_controller.cluster_ports import Bus
from instar_controller.cluster_settings import BusSettings, DatabaseSettings, ProgramSettings
from instar_controller.engines import envelopes
from instar_controller.engines.keeper import Keeper, KeeperCounts
from instar_controller.errors import BusError, StoreError, UnansweredError
from instar_controller.notices import Announce, Ended, Waiting
from instar_controller.readiness import Asker, Health

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # between two attempts to reach what is outside
QUIET_S = 2.0  # that a connection may take without a word
SPOOL_FOLDER = "spool"
RECORDS_S = 10.0  # at the end, for the database to take the last records
SEND_S = 30.0  # for a message to arrive, as the stock invoker has it
PROBE_S = 5.0  # between two questions whether the database answers


class Stopped(Exception):
    """A signal has come while something was waited for."""


class Stopping:
    """SIGINT and SIGTERM, from the first of them on. To be made by the main thread."""

    def __init__(self) -> None:
        self._has_come = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._begin)

    def wait(self) -> None:
        """Return when one has come."""
        self._has_come.wait()

    def pause(self, seconds: float) -> None:
        """Wait so long. Raises `Stopped` as soon as one has come."""
        if self._has_come.wait(seconds):
            raise Stopped

    def _begin(self, _number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # an impatient second one must not leave half of it standing
        self._has_come.set()


def bus(settings: BusSettings, *, send_s: float = SEND_S) -> KafkaBus:
    """The message bus, whether it is there or not. No message is on its way for longer than `send_s`; the longest one
    fits with an envelope around it.
    """
    most = settings.max_message_bytes + envelopes.OVERHEAD_BYTES
    more = kafka_security.configuration(settings.security)
    return KafkaBus(KafkaSettings(",".join(settings.hosts), max_request_bytes=most, send_s=send_s, more=more))


def connection(settings: DatabaseSettings) -> Connection:
    """The way to CouchDB, whether it is there or not."""
    return Connection(couch_settings(settings))


def couch_settings(settings: DatabaseSettings) -> CouchSettings:
    return CouchSettings(settings.protocol, settings.host, settings.port, settings.username, settings.password)


def insist(what: str, attempt: Callable[[], None], stopping: Stopping, announce: Announce) -> None:
    """Try until it goes well: whatever outside does not answer. Raises `Stopped`."""
    pause_s, said, begun_s = FIRST_PAUSE_S, "", time.monotonic()
    while True:
        try:
            attempt()
            return
        except (BusError, StoreError, UnansweredError) as error:
            if str(error) != said and time.monotonic() - begun_s > QUIET_S:
                said = str(error)
                logger.warning("waiting for %s: %s", what, error)
                announce(Waiting(what, said))
        stopping.pause(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def open_on(bus: Bus, settings: BusSettings, make: Callable[[], None]) -> Callable[[], None]:
    """An attempt to make topics that fails at once while no broker answers, so that a signal is heard meanwhile."""

    def attempt() -> None:
        if not bus.is_up():
            over = "" if settings.security.is_open else f" over {settings.security.protocol}; the log may say why"
            raise BusError(f"no broker answers at {','.join(settings.hosts)}{over}")
        make()

    return attempt


def look_at(connection: Connection, databases: Sequence[str]) -> None:
    """Raises `StoreError` if the server does not answer, or lacks one of these databases, or keeps it from us."""
    for name in databases:
        reply = connection.exchange("GET", (name,), timeout_s=PROBE_S)
        if reply.status != 200:
            error, reason = reply.error
            said = f"{error}: {reason}" if error else "no word why"
            raise StoreError(
                f"CouchDB at {connection.settings.url} answers {reply.status} for the database {name} ({said}); make "
                "it, or name another"
            )


@contextlib.contextmanager
def counting() -> Iterator[Metrics]:
    """The program's numbers; warnings and errors in its log are among them as long as the context lasts."""
    metrics = Metrics()
    handler = metrics.count_log()
    logging.getLogger().addHandler(handler)
    try:
        yield metrics
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def keeping(program: ProgramSettings, connection: Connection, announce: Announce) -> Iterator[Keeper]:
    """The keeper of records; at the end the database gets a while for the last ones, and the spool has the rest."""
    clock = SystemClock()
    records = CouchRecords(Database(connection, program.database.activations), clock)
    keeper = Keeper(records, Spool(program.state / SPOOL_FOLDER), clock)
    try:
        keeper.start()
        yield keeper
    finally:
        keeper.close(deadline_s=RECORDS_S)
        announce(Ended())


def watch(metrics: Metrics, health: Health, keeper: Keeper) -> None:
    """Have what every program has told whenever somebody reads the metrics."""
    metrics.watch_each("instar_up", "Whether what is outside answers.", "what", health.answers)
    metrics.watch("instar_records_in_hand", "Records in memory, not stored yet.", lambda: keeper.counts().in_hand)
    metrics.watch(
        "instar_records_spool_bytes", "Records on the disk, not stored yet.", lambda: keeper.counts().waiting_bytes
    )
    metrics.watch(
        "instar_records_at_risk",
        "Records that the disk does not take: they would go with the process.",
        lambda: keeper.counts().at_risk,
    )
    metrics.watch(
        "instar_records_full",
        "Whether so many records wait that no more work is read.",
        lambda: float(keeper.is_full()),
    )
    metrics.watch_each(
        "instar_records", "Records since the start, by what became of them.", "fate", lambda: _fates(keeper.counts())
    )


def _fates(counts: KeeperCounts) -> Mapping[str, float]:
    return {"taken": counts.taken, "kept": counts.kept, "set aside": counts.set_aside, "torn": counts.torn}


def database_asker(connection: Connection, databases: Sequence[str]) -> Asker:
    """Who asks for these databases."""
    return Asker("database", lambda: look_at(connection, databases), every_s=PROBE_S)


def missing_threads(names: Sequence[str]) -> Sequence[str]:
    """Those of a program's own threads that have died, as reasons why it does not live any more."""
    alive = {thread.name for thread in threading.enumerate()}
    return [f"the thread {name} has ended" for name in names if name not in alive]
