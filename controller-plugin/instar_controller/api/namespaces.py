"""Namespaces and what holds for them."""

from __future__ import annotations

from flask import Response

from instar_controller.api import entitlement
from instar_controller.api.answers import json_answer
from instar_controller.api.routing import BASE, NAMESPACE, Router
from instar_controller.api.services import Services
from instar_controller.whisk import names
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.limits import EffectiveLimits


class Namespaces:
    """The routes of namespaces."""

    def __init__(self, services: Services) -> None:
        self._limits = services.limits

    def register(self, router: Router) -> None:
        for rule in (f"{BASE}/namespaces", f"{BASE}/namespaces/"):
            router.protected("GET", rule, self.list)
        router.protected("GET", f"{NAMESPACE}/limits", self.limits)

    def list(self, caller: Identity) -> Response:
        return json_answer([caller.namespace])

    def limits(self, caller: Identity, namespace: str) -> Response:
        entitlement.require_own(caller, names.resolve_namespace(namespace, own=caller.namespace))
        return json_answer(EffectiveLimits(caller.limits, self._limits).to_json())
