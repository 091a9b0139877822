"""Whose a node's name is: two programs under one name would read one topic, and answer for each other's work.

One rule: a program has a name from its first heartbeat on, and before that it finds out that nobody else has it: the
last one was the same owner, or has said goodbye, or was not heard for as long as it takes until it does nothing any
more by itself (`fence_s`). Who was not heard for so long looks whether the name is still its own before it goes on.

Of two that begin in the same moment under a name that is new neither sees the other (`Claim`).
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

from instar_controller.cluster_ports import Bus, From, Message
from instar_controller.engines import envelopes, reports
from instar_controller.engines.claim import Claim
from instar_controller.engines.envelopes import Marker
from instar_controller.engines.topics import Topics
from instar_controller.errors import BusError, MalformedError
from instar_controller.policies.nodes import Heartbeat, Stage

logger = logging.getLogger(__name__)

POLL_S = 0.5
RETRY_S = 1.0  # after the bus has failed


class Name:
    """A node's. `owner` is the same for all lives of which never two are there at once."""

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        name: str,
        *,
        owner: str,
        silence_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._topic = topics.node(name)
        self._nodes = topics.nodes
        self._name = name
        self._owner = owner
        self._claim = Claim(bus, self._topic, owner, now=now)
        self._silence_s = silence_s
        self._now = now
        self._has_complained = False

    def obtain(self, stopped: threading.Event) -> bool:
        """Wait until the name is free, and take it; False if `stopped` was set before. The topics are there."""
        while not stopped.is_set():
            try:
                if self._claim.last() in ("", self._owner) or self._wait_for_silence(stopped):
                    self._claim.take()
                    return True
            except BusError as error:
                logger.info("whether somebody else is node %s is not known yet: %s", self._name, error)
                stopped.wait(RETRY_S)
        return False

    def is_ours(self) -> bool:
        """Whether nobody has taken it since. Asks the bus; False if that does not answer."""
        try:
            is_ours = self._claim.is_ours()
        except BusError as error:
            logger.info("whether somebody else is node %s by now is not known: %s", self._name, error)
            return False
        if not is_ours:
            self._complain("another program is node %s since nobody heard this one; it does nothing any more, end it")
        return is_ours

    def keep(self) -> None:
        """To be called now and then by whoever has it: see to it that it is not forgotten."""
        if self._claim.is_due:
            with suppress(BusError):  # next time
                self._claim.is_ours()

    def _wait_for_silence(self, stopped: threading.Event) -> bool:
        """Whether nobody says any more that it is this node; False if `stopped` was set before. Raises `BusError`.

        What was said is heard by the time that a marker is heard which was sent later.
        """
        with closing(self._bus.subscribe(self._nodes, self._topic, begin=From.LATEST)) as reader:
            asked_s, token = self._now(), ""
            while not stopped.is_set():
                if self._now() - asked_s >= self._silence_s:
                    asked_s, token = self._now(), secrets.token_hex(8)
                    self._bus.send(self._nodes, envelopes.mark(token))
                for message in reader.poll(timeout_s=POLL_S, most=1000):
                    match _news(message):
                        case Marker(found) if found == token:
                            return True
                        case Heartbeat() as beat if beat.member.name == self._name:
                            if beat.stage is Stage.GONE:
                                return True
                            asked_s, token = self._now(), ""
                            self._complain("another program is node %s; this one begins when that one has ended")
        return False

    def _complain(self, text: str) -> None:
        """Once."""
        if not self._has_complained:
            self._has_complained = True
            logger.error(text, self._name)


def _news(message: Message) -> Marker | Heartbeat | None:
    try:
        return reports.parse_news(message.value)
    except MalformedError:  # dispatchers say so
        return None
