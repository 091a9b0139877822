"""What a controller is told about an activation that no node will answer.

One rule: whose result was delivered is not told anything else; there only the slot is freed.
"""

from __future__ import annotations

from instar_controller.engines import records
from instar_controller.engines.sources import Assignment
from instar_controller.whisk import response
from instar_controller.whisk.acks import Ack, CompletionMessage
from instar_controller.whisk.activation import Activation

NODE_LOST = "The node that ran the action was lost."
NO_NODE = "No node could run the action in time."
TOO_LARGE = "The activation was too large to be sent to a node."


def failure(assignment: Assignment, why: str, *, now_ms: int) -> Activation:
    """The record of an activation that ended as the platform's failure."""
    return records.refusal(assignment.message, response.of_failed_start(why), now_ms=now_ms)


def completion(assignment: Assignment) -> Ack:
    """The completion that follows a result which was delivered."""
    message = assignment.message
    return CompletionMessage(message.transid, message.activation_id, False, assignment.instance)
