"""Sends messages.

One rule: each message has one future, and each future is settled once: by the library's report on that message, or at
once if the library does not even take it. Reports come in on one thread of ours, and so do the callbacks of futures:
they must be short.
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
        self._pulse = pulse
        self._most_bytes = settings.max_request_bytes
        self._close_s = settings.close_s
        self._producer = Producer(
            {**settings.of_sender(), "error_cb": pulse.failed, "stats_cb": pulse.measured},
        )
        self._is_closed = False
        self._open = threading.Lock()  # held by who sends or closes, so that nothing is sent after the last report
        self._server = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
        self._server.start()

    def send(self, topic: str, value: bytes) -> Future[None]:
        """See `cluster_ports.Bus`."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        failed = self._hand_over(topic, value, partial(self._settle, future, topic, len(value)))
        if failed is not None:
            future.set_exception(failed)
        return future

    def close(self) -> None:
        """Give what is on its way a moment; what is left then fails."""
        with self._open:
            if self._is_closed:
                return
            self._is_closed = True
        if self._producer.flush(self._close_s):
            self._producer.purge()
            self._producer.flush(self._close_s)
        self._server.join()

    def __len__(self) -> int:
        """How many messages are on their way."""
        return len(self._producer)

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

    def _settle(self, future: Future[None], topic: str, length: int, error: KafkaError | None, _: object) -> None:
        if error is None:
            self._pulse.answered()
            future.set_result(None)
        else:
            future.set_exception(self._failure(topic, length, error))

    def _serve(self) -> None:
        while not self._is_closed:
            try:
                self._producer.poll(SERVE_S)
            except Exception:  # of a callback; without this thread no message would ever be settled
                logger.exception("a report on messages could not be taken")

    def _failure(self, topic: str, length: int, error: KafkaError) -> BusError:
        what = _not_sent(topic, length)
        if failures.is_too_large(error):
            what += f", as only up to {self._most_bytes} bytes leave here, and the topic may take fewer"
        return failures.failure(what, error)


def _not_sent(topic: str, length: int) -> str:
    return f"a message of {length} bytes to {topic} is not sent"
