"""Activation records: lists, single ones, and their parts."""

from __future__ import annotations

from flask import Response, request

from instar_controller.api import entitlement, queries
from instar_controller.api.answers import json_answer
from instar_controller.api.routing import NAMESPACE, Router
from instar_controller.api.services import Services
from instar_controller.errors import RefusedError
from instar_controller.ports import ActivationQuery
from instar_controller.whisk import activation as records
from instar_controller.whisk import names
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.identity import Identity

ONE = f"{NAMESPACE}/activations/<activation_id>"


class Activations:
    """The routes of activation records."""

    def __init__(self, services: Services) -> None:
        self._store = services.store

    def register(self, router: Router) -> None:
        for rule in (f"{NAMESPACE}/activations", f"{NAMESPACE}/activations/"):
            router.protected("GET", rule, self.list)
        router.protected("GET", ONE, self.get)
        router.protected("GET", f"{ONE}/logs", self.logs)
        router.protected("GET", f"{ONE}/result", self.result)

    def list(self, caller: Identity, namespace: str) -> Response:
        page = queries.page("activations")
        docs, count = queries.flag("docs", default=False), queries.flag("count", default=False)
        query = _query(_owner(caller, namespace))
        if docs and count:
            raise RefusedError("The parameter 'docs' is not permitted with 'count'.")
        if count:
            return json_answer({"activations": max(0, self._store.count_activations(query) - page.skip)})
        found = self._store.list_activations(query, skip=page.skip, limit=page.limit)
        if not docs:
            return json_answer([activation.to_summary() for activation in found])
        whole = (self._store.get_activation(line.namespace, line.activation_id) for line in found)
        return json_answer([activation.to_record() for activation in whole])

    def get(self, caller: Identity, namespace: str, activation_id: str) -> Response:
        return json_answer(self._find(caller, namespace, activation_id).to_record())

    def logs(self, caller: Identity, namespace: str, activation_id: str) -> Response:
        return json_answer({"logs": list(self._find(caller, namespace, activation_id).logs)})

    def result(self, caller: Identity, namespace: str, activation_id: str) -> Response:
        return json_answer(self._find(caller, namespace, activation_id).to_result())

    def _find(self, caller: Identity, namespace: str, activation_id: str) -> Activation:
        id = records.parse_id(activation_id)
        return self._store.get_activation(_owner(caller, namespace), id)


def _owner(caller: Identity, namespace: str) -> str:
    owner = names.resolve_namespace(namespace, own=caller.namespace)
    entitlement.require_own(caller, owner)
    return owner


def _query(owner: str) -> ActivationQuery:
    name = request.args.get("name")
    return ActivationQuery(
        owner,
        name=None if name is None else names.check_filter(name),
        since_ms=queries.epoch_ms("since"),
        upto_ms=queries.epoch_ms("upto"),
    )
