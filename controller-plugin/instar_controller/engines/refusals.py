"""Answers for nodes that cannot: what a controller is told about an activation that no node will answer.

One rule: whose result was delivered is not told anything else; there only the slot is freed. The record of a failure
is kept before its answer leaves, so that no answer is without one, whenever this process ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from instar_controller import log_context
from instar_controller.cluster_ports import Records
from instar_controller.engines import acknowledging, records, storing
from instar_controller.engines.acknowledging import Acknowledger
from instar_controller.engines.sources import Assignment
from instar_controller.ports import Clock
from instar_controller.whisk import response
from instar_controller.whisk.acks import CompletionMessage
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.store_level import StoreLevel

logger = logging.getLogger(__name__)

NODE_LOST = "The node that ran the action was lost."
NO_NODE = "No node could run the action in time."
TOO_LARGE = "The activation was too large to be sent to a node."


class Refusals:
    """One invoker's. `on_sent` is told when the bus has an answer."""

    def __init__(self, acknowledger: Acknowledger, records: Records, clock: Clock, instance: InvokerInstance) -> None:
        self._acknowledger = acknowledger
        self._records = records
        self._clock = clock
        self._instance = instance

    def fail(self, message: ActivationMessage, why: str, on_sent: Callable[[], None]) -> None:
        """It is the platform's failure. May wait for room for its record."""
        with log_context.about(message.activation_id, message.transid.id):
            self._fail(message, why, on_sent)

    def complete(self, message: ActivationMessage, on_sent: Callable[[], None]) -> None:
        """Its result was delivered."""
        assignment = Assignment(message, self._instance, 0)
        ack = CompletionMessage(message.transid, message.activation_id, False, self._instance)
        with log_context.about(message.activation_id, message.transid.id):
            self._acknowledger.completion(assignment, ack, None, on_sent)

    def _fail(self, message: ActivationMessage, why: str, on_sent: Callable[[], None]) -> None:
        logger.warning("activation %s is answered with an error: %s", message, why)
        assignment = Assignment(message, self._instance, 0)
        failure = response.of_failed_start(why)
        record = records.refusal(message, failure, now_ms=self._clock.now_ms())
        # The platform's failures are stored at every level that can be configured.
        level = StoreLevel.ALWAYS if message.user.stores_activations else StoreLevel.NEVER
        storing.keep(self._records, record, level)
        ack = acknowledging.at_the_end(assignment, record, has_log=False)
        self._acknowledger.completion(assignment, ack, record, on_sent)
