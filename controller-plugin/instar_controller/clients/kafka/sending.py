"""Sends messages.

One rule: each message has one future, and each future is settled once: by the library's report on that message, or at
once if the library does not even take it. Reports come in on one thread of ours, and so do the callbacks of futures:
they must be short.

The library sends messages in batches, and a broker that finds one too large refuses all of it, whichever message is
to blame, or none. So what was refused like that is sent again, each message by itself, behind those that were sent
meanwhile; what is refused then is too large.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer

from instar_controller.clients.kafka import failures
from instar_controller.clients.kafka.pulse import Pulse
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.errors import BusError

logger = logging.getLogger(__name__)

Report = Callable[[KafkaError | None, object], None]

SERVE_S = 0.2  # the library wakes its server for each report, but not for the end


class Sender:
    """Safe for several threads."""

    def __init__(self, settings: KafkaSettings, pulse: Pulse) -> None:
        self._settings = settings
        self._pulse = pulse
        self._most_bytes = settings.max_request_bytes
        self._close_s = settings.close_s
        self._producer = Producer(
            {**settings.of_sender(), "error_cb": pulse.failed, "stats_cb": pulse.measured},
        )
        self._alone: Producer | None = None  # for what was refused; made when it is needed first …
        self._making = threading.Lock()  # … by whoever hears of it, and at the end two may
        self._is_closed = False
        self._open = threading.Lock()  # held by who sends or closes, so that nothing is sent after the last report
        self._server = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
        self._server.start()

    def send(self, topic: str, value: bytes) -> Future[None]:
        """See `cluster_ports.Bus`."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        failed = self._hand_over(topic, value, partial(self._hear, future, topic, value))
        if failed is not None:
            future.set_exception(failed)
        return future

    def close(self) -> None:
        """Give what is on its way a moment; what is left then fails."""
        with self._open:
            if self._is_closed:
                return
            self._is_closed = True
        _end(self._producer, self._close_s)
        self._server.join()  # from here on nobody begins to send by itself
        if self._alone is not None:
            _end(self._alone, self._close_s)

    def __len__(self) -> int:
        """How many messages are on their way."""
        return len(self._producer) + (0 if self._alone is None else len(self._alone))

    def _hand_over(
        self, topic: str, value: bytes, report: Callable[[KafkaError | None, object], None]
    ) -> BusError | None:
        """Give a message to the library, or say why not."""
        what = _not_sent(topic, len(value))
        with self._open:
            if self._is_closed:
                return BusError(f"{what}: the bus is closed")
            try:
                self._producer.produce(topic, value, on_delivery=report)
            except KafkaException as raised:
                return self._failure(topic, len(value), failures.of(raised))
            except BufferError as raised:
                return BusError(f"{what}: {len(self._producer)} wait already ({raised}); send it again later")
        return None

    def _hear(self, future: Future[None], topic: str, value: bytes, error: KafkaError | None, sent: object) -> None:
        """The library's report on a message of a batch."""
        if error is None or not failures.is_too_large(error):
            self._settle(future, topic, len(value), error, sent)
            return
        try:
            self._by_itself().produce(topic, value, on_delivery=partial(self._settle, future, topic, len(value)))
        except (KafkaException, BufferError):
            self._settle(future, topic, len(value), error, sent)

    def _by_itself(self) -> Producer:
        with self._making:
            if self._alone is None:
                configuration = {**self._settings.of_sender(), "batch.num.messages": 1, "statistics.interval.ms": 0}
                self._alone = Producer({**configuration, "error_cb": self._pulse.failed})
            return self._alone

    def _settle(self, future: Future[None], topic: str, length: int, error: KafkaError | None, _: object) -> None:
        if error is None:
            self._pulse.answered()
            future.set_result(None)
        else:
            future.set_exception(self._failure(topic, length, error))

    def _serve(self) -> None:
        while not self._is_closed:
            try:
                if self._alone is not None and len(self._alone):
                    self._alone.poll(0)
                    self._producer.poll(SERVE_S / 10)
                else:
                    self._producer.poll(SERVE_S)
            except Exception:  # of a callback; without this thread no message would ever be settled
                logger.exception("a report on messages could not be taken")

    def _failure(self, topic: str, length: int, error: KafkaError) -> BusError:
        what = _not_sent(topic, length)
        if failures.is_too_large(error):
            what += f", as only up to {self._most_bytes} bytes leave here, and the topic may take fewer"
        return failures.failure(what, error)


def _end(producer: Producer, close_s: float) -> None:
    """Give what is on its way a moment; what is left then fails."""
    if producer.flush(close_s):
        producer.purge()
        producer.flush(close_s)


def _not_sent(topic: str, length: int) -> str:
    return f"a message of {length} bytes to {topic} is not sent"
