"""Storing the record of an activation that has ended, or not.

One rule: nothing that happens to a record reaches whoever carries activations out: a record that cannot be kept is an
error in the log, and no reason to stop.
"""

from __future__ import annotations

import logging

from instar_controller import log_context
from instar_controller.cluster_ports import Records
from instar_controller.errors import StoreError
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.store_level import StoreLevel

logger = logging.getLogger(__name__)


def tell_of_unstored() -> None:
    """Have a line in the log for each activation that is not stored, whatever the log's level: OpenWhisk's
    `unstored-logs-enabled`."""
    logger.setLevel(logging.DEBUG)


def keep(records: Records, activation: Activation, level: StoreLevel) -> None:
    """Have the record stored if its level takes it. May wait for room."""
    if not level.takes(activation.response.status):
        logger.debug(
            "activation %s of %s in %s is not stored: it ended with %s, and its level is %s",
            activation.activation_id,
            activation.path,
            activation.namespace,
            activation.response.status.text,
            level.name,
        )
        return
    logger.log(log_context.detail(), "the record of activation %s is to be stored", activation.activation_id)
    try:
        records.put_activation(activation)
    except StoreError as error:
        logger.error("the record of activation %s is lost: %s", activation.activation_id, error)
