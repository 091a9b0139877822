"""Whose a node's name is: two programs under one name would read one topic, and answer for each other's work.

One rule: a program has a name before it reads anything or is heard, and before that it finds out that nobody else
has it: the last one was the same owner, or has said goodbye, or was not heard for as long as it takes until it does
nothing any more by itself (`fence_s`). Who was not heard for so long looks whether it still has its name before it
goes on.

Of two that begin in the same moment under a name that is new neither sees the other (`Claim`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from instar_controller.cluster_ports import Bus, From, Message, Subscription
from instar_controller.engines import envelopes, reports
from instar_controller.engines.claim import Claim
from instar_controller.engines.envelopes import Marker
from instar_controller.engines.topics import Topics
from instar_controller.errors import BusError, MalformedError, NameTakenError
from instar_controller.policies.nodes import Heartbeat, Stage

logger = logging.getLogger(__name__)

POLL_S = 0.1


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
        self._reader: Subscription | None = None  # of what nodes say, while another has the name
        self._since_s = 0.0  # of the silence, as far as it is known
        self._markers: set[str] = set()  # that were sent when it was long enough

    def obtain(self) -> None:
        """Take the name. Raises `NameTakenError` while another program has it, or may have it, and `BusError`; then
        ask again. The topics are there."""
        if self._claim.last() not in ("", self._owner):
            self._insist_on_silence()
        self._claim.take()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def is_ours(self) -> bool:
        """Whether nobody has taken it since. Asks the bus; False if that does not answer."""
        try:
            is_ours = self._claim.is_ours()
        except BusError as error:
            logger.info("whether somebody else is node %s by now is not known: %s", self._name, error)
            return False
        if not is_ours and not self._has_complained:
            self._has_complained = True
            logger.error(
                "another program is node %s since nobody heard this one; it does nothing any more, end it", self._name
            )
        return is_ours

    def keep(self) -> None:
        """To be called now and then by whoever has it: see to it that it is not forgotten."""
        if self._claim.is_due:
            with suppress(BusError):  # next time
                self._claim.is_ours()

    def _insist_on_silence(self) -> None:
        """Look whether somebody says that it is this node. What was said is heard by the time that a marker is heard
        which was sent later."""
        if self._reader is None:
            self._reader = self._bus.subscribe(self._nodes, self._topic, begin=From.LATEST)
            self._since_s = self._now()
        if self._now() - self._since_s >= self._silence_s:
            token = secrets.token_hex(8)
            self._markers.add(token)
            self._bus.send(self._nodes, envelopes.mark(token))
        for message in self._reader.poll(timeout_s=POLL_S, most=1000):
            match _news(message):
                case Marker(token) if token in self._markers:
                    return
                case Heartbeat() as beat if beat.member.name == self._name:
                    if beat.stage is Stage.GONE:
                        return
                    self._since_s = self._now()
                    self._markers.clear()
        raise NameTakenError(
            f"another program is node {self._name}, or was a moment ago; this one begins when nothing was heard of "
            f"that one for {self._silence_s:g} s. End it, or give this one another name"
        )


def _news(message: Message) -> Marker | Heartbeat | None:
    try:
        return reports.parse_news(message.value)
    except MalformedError:  # dispatchers say so
        return None
