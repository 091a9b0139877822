"""Whether the brokers answer.

One rule: nobody waits to find out. It is learnt from what happens anyway: answers, outages, and the sender's own
statistics, once a second. A change is logged once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from instar_controller.clients.kafka import refusals
from instar_controller.clients.kafka.refusals import Refusal
from instar_controller.clients.kafka.settings import KafkaSettings

logger = logging.getLogger(__name__)


class Pulse:
    """Written by the library's callbacks, read by anybody: whether it is up is a single value that needs no lock."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._hosts = settings.hosts
        self._silent_s = settings.silent_s
        self._is_up: bool | None = None  # nobody has answered yet, nor failed to
        self._lock = threading.Lock()  # for what follows: several clients call back
        self._refusals: set[Refusal] = set()  # that were told in this outage

    @property
    def is_up(self) -> bool:
        return self._is_up is True

    def answered(self) -> None:
        if self._is_up is not True:
            logger.info("the bus at %s answers", self._hosts)
            with self._lock:
                self._refusals.clear()
        self._is_up = True

    def failed(self, error: KafkaError) -> None:
        """The library's `error_cb`: it also tells what passes by itself, which is of no interest here."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._lost(error.str())
        elif (refusal := refusals.of(error)) is not None and self._is_news(refusal):
            logger.warning("the bus at %s: %s: %s", self._hosts, refusal.value, error.str())

    def measured(self, statistics: str) -> None:
        """The library's `stats_cb`."""
        brokers = json.loads(statistics)["brokers"].values()
        connected = [each for each in brokers if each["state"] == "UP"]
        if any(each["waitresp_cnt"] == 0 or _quiet_s(each) < self._silent_s for each in connected):
            self.answered()
        elif connected:
            self._lost(f"no answer for {self._silent_s} s")
        elif self._is_up is not None:
            self._lost("no connection")

    def _is_news(self, refusal: Refusal) -> bool:
        with self._lock:
            is_news = refusal not in self._refusals
            self._refusals.add(refusal)
        return is_news

    def _lost(self, why: str) -> None:
        if self._is_up is not False:
            logger.warning("the bus at %s is down: %s; it is tried again all the time", self._hosts, why)
        self._is_up = False


def _quiet_s(broker: Mapping[str, Any]) -> float:
    """How long nothing has come from a broker, nor gone to it: an answer is due for no longer than that."""
    quiet_us: int = min(broker["rxidle"], broker["txidle"])
    return quiet_us / 1e6
