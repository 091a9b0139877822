"""What each kind of device takes to transform and to load, where all nodes and dispatchers of a cluster find it.

One rule: the first profile of a kind of device holds for all nodes of that kind, so that they share their plans; it
is replaced only if it cannot be read. Who wants another one writes it over the document `costs:DEVICE`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from instar.plan.costs import Costs
from instar_controller.clients import plans
from instar_controller.clients.notes import Notes
from instar_controller.cluster_ports import Documents
from instar_controller.errors import ConflictError, StoreError
from instar_controller.whisk.values import JsonObject

logger = logging.getLogger(__name__)

COSTS = "costs:"
TRIES = 5


class ClusterCosts:
    """The costs in a database. Every method may raise `StoreError`."""

    def __init__(self, documents: Documents) -> None:
        self._notes = Notes(documents)

    def all(self) -> dict[str, Costs]:
        """What is published, by kind of device."""
        found = (_costs(note.body) for note in self._notes.under(COSTS).values())
        return {costs.device: costs for costs in found if costs is not None}

    def of(self, device: str) -> Costs | None:
        """What is published of a kind of device; None if nothing is, or it cannot be read."""
        note = self._notes.read(COSTS + device)
        return None if note is None else _costs(note.body)

    def publish(self, costs: Costs) -> Costs:
        """Offer what was measured on this kind of device; what holds for it now, which may be another's."""
        body: JsonObject = {
            "type": "costs",
            "device": costs.device,
            "key": plans.key_of(costs),
            "rates_ns": dict(costs.rates_ns),
        }
        for _ in range(TRIES):
            note = self._notes.read(COSTS + costs.device)
            held = None if note is None else _costs(note.body)
            if held is not None:
                return held
            try:
                self._notes.write(COSTS + costs.device, body, replaces=None if note is None else note.revision)
                return _costs(body) or costs
            except ConflictError:
                continue
        raise StoreError(f"the costs of {costs.device!r} were changed {TRIES} times while they were written")


def _costs(body: JsonObject) -> Costs | None:
    device, rates = body.get("device"), body.get("rates_ns")
    if isinstance(device, str) and isinstance(rates, Mapping):
        numbers = {name: float(rate) for name, rate in rates.items() if isinstance(rate, int | float)}
        if len(numbers) == len(rates) and all(math.isfinite(rate) and rate >= 0 for rate in numbers.values()):
            return Costs(device, numbers)
    logger.warning("the published costs of %r cannot be read; write them anew, or delete the document", device)
    return None
