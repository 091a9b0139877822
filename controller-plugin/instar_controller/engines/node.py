"""A node: carries out what its source brings, answers for it, and keeps its records.

One rule: from the moment that a message is parsed one completion is owed, and given, whatever breaks. Which parts
that takes is said here once: reader, lookups, engine, acknowledgements, records; each part sees to its own.

The end is in order, too: no more is read; what runs may end, until time is up; what is left is answered as the
platform's failure; every answer leaves; and what was committed says what is to be run again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from instar_controller import log_context
from instar_controller.cluster_ports import Bus, Records, Slate
from instar_controller.engines import records as activations
from instar_controller.engines import storing
from instar_controller.engines.acknowledging import Acknowledger, AckTopics, Observer, Receipt
from instar_controller.engines.intake import Arrival, Intake, IntakeSettings
from instar_controller.engines.invoker import Invoker
from instar_controller.engines.outbox import Outbox, OutboxSettings
from instar_controller.engines.preparing import Blocked, Preparation, Prepared, Recognised, Refused, Runnable
from instar_controller.engines.sources import Assignment, Source
from instar_controller.errors import OverloadedError
from instar_controller.ports import Clock
from instar_controller.whisk.acks import CombinedMessage, CompletionMessage
from instar_controller.whisk.response import Response, of_failed_start
from instar_controller.whisk.store_level import StoreLevel

logger = logging.getLogger(__name__)

OUR_MISTAKE = "The invoker failed to run the action."
INTERRUPTED = "The invoker was shut down before the action had ended."


class Backlog(Records, Protocol):
    """Records that pile up while their database is slow."""

    def wait_for_room(self, *, timeout_s: float) -> bool:
        """Whether more may come; waits for that a while."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How much is taken on, and how long the end may take."""

    intake: IntakeSettings = field(default_factory=IntakeSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    answers_s: float = 5.0  # at the end, for the last answers to leave


class Node:
    """All that carries out the work of one source. `start` it once, `close` it once."""

    def __init__(
        self,
        bus: Bus,
        source: Source,
        preparation: Preparation,
        engine: Invoker,
        records: Backlog,
        clock: Clock,
        observer: Observer,
        topics: AckTopics,
        settings: NodeSettings | None = None,
        *,
        may_read: Callable[[float], bool] = lambda _: True,
        slate: Slate | None = None,
    ) -> None:
        """The `engine` keeps its records in `records`, too, and has a queue for `intake.most_unfinished`; it is
        closed here, and started by whoever made it. Everything else is closed by its maker, after this.
        `may_read`: whether what is in the topic may be taken on now; waits for so many seconds if it may not.
        `slate`: see `intake.Intake`.
        """
        self._settings = settings or NodeSettings()
        self._preparation = preparation
        self._engine = engine
        self._records = records
        self._clock = clock
        self._observer = observer
        self._may_read = may_read
        self.outbox = Outbox(bus, self._settings.outbox)
        self._acknowledger = Acknowledger(self.outbox, source, clock, observer, topics)
        self.intake = Intake(bus, source, self, observer, self._settings.intake, slate)

    def start(self) -> None:
        """Begin to work."""
        self.outbox.start()
        self.intake.start()

    def stop(self) -> None:
        """Read no more from here on: what is in the topic stays there for the next one."""
        self.intake.stop()

    def close(self, *, drain_s: float) -> None:
        """Take on no more, let what runs run for so long, give up the rest, and let the answers leave."""
        until_s = time.monotonic() + drain_s
        self.stop()
        self.intake.wait_until_finished(drain_s)
        self._engine.close(drain_s=max(0.0, until_s - time.monotonic()), interrupted=of_failed_start(INTERRUPTED))
        left = self.outbox.close(self._settings.answers_s)
        if left:
            logger.error("%s answers and events could not be sent before the end", left)
        self.intake.close()

    # What the intake asks: see `intake.Desk`.

    def look(self, assignment: Assignment) -> Prepared | None:
        with _about(assignment):
            return self._preparation.look(assignment.message)

    def prepare(self, assignment: Assignment) -> Prepared:
        with _about(assignment):
            return self._preparation.prepare(assignment.message)

    def wait_for_room(self, timeout_s: float) -> bool:
        return self._may_read(timeout_s) and self._records.wait_for_room(timeout_s=timeout_s)

    def begin(self, arrival: Arrival, prepared: Prepared) -> None:
        """Carry it out, or answer it: exactly one of them."""
        with _about(arrival.assignment):
            self._begin(arrival, prepared)

    def _begin(self, arrival: Arrival, prepared: Prepared) -> None:
        match prepared:
            case Runnable(invocation):
                receipt = self._receipt(arrival, has_log=invocation.action.limits.logs_mb > 0)
                logger.log(log_context.detail(), "activation %s is taken on", arrival.assignment.message)
                try:
                    if self._engine.join(invocation.activation_id, receipt):
                        logger.info("activation %s joins its run that is under way here", arrival.assignment.message)
                        self._observer.read("joined")
                        return
                    self._observer.read("run")
                    self._engine.submit(invocation, receipt)
                except OverloadedError as error:  # only at the very end: there is a place for all that are read
                    self._refuse(arrival, of_failed_start(str(error)), invocation.store_level)
                except Exception:  # a mistake of ours: what is owed is owed
                    logger.exception("activation %s cannot be begun", arrival.assignment.message)
                    self._refuse(arrival, of_failed_start(OUR_MISTAKE), invocation.store_level)
            case Refused(response, level):
                self._observer.read("refused")
                self._refuse(arrival, response, level)
            case Blocked() as blocked:
                self._observer.read("blocked")
                self._turn_away(arrival, blocked.response)
            case Recognised():
                self._observer.read("health test")
                self._recognise(arrival)

    # The answers that need no engine.

    def _receipt(self, arrival: Arrival, *, has_log: bool) -> Receipt:
        return Receipt(
            self._acknowledger,
            self._observer,
            arrival.assignment,
            has_log=has_log,
            read_s=arrival.read_s,
            on_sent=lambda: self.intake.finished(arrival),
        )

    def _refuse(self, arrival: Arrival, response: Response, level: StoreLevel) -> None:
        """It never came as far as a container, and this is why."""
        activation = activations.refusal(arrival.assignment.message, response, now_ms=self._clock.now_ms())
        if self._receipt(arrival, has_log=False).finished(activation):
            storing.keep(self._records, activation, level)

    def _turn_away(self, arrival: Arrival, response: Response) -> None:
        """Its namespace may run nothing: it is told so, and nobody else is."""
        assignment = arrival.assignment
        message = assignment.message
        ack = CombinedMessage(message.transid, message.activation_id, False, assignment.instance)
        self._acknowledger.completion(assignment, ack, None, lambda: self.intake.finished(arrival))
        logger.info("activation %s: %s", message, response.result)

    def _recognise(self, arrival: Arrival) -> None:
        """The health test has reached us, so we are healthy."""
        assignment = arrival.assignment
        message = assignment.message
        ack = CompletionMessage(message.transid, message.activation_id, False, assignment.instance)
        self._acknowledger.completion(assignment, ack, None, lambda: self.intake.finished(arrival))


def _about(assignment: Assignment) -> AbstractContextManager[None]:
    message = assignment.message
    return log_context.about(message.activation_id, message.transid.id, extra_logging=message.transid.extra_logging)
