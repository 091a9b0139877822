"""Invoking an action: from a request to an invocation, and from its record to an answer.

One rule: every admitted request gives its slot back exactly once: here, if nothing was submitted, else when
the invocation is completed, whether or not anyone still waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass

from flask import Response, request

from instar_controller import log_context
from instar_controller.api import bodies, entitlement, queries, references, transactions
from instar_controller.api.actions import PACKAGED, PLAIN
from instar_controller.api.answers import json_answer
from instar_controller.api.catalogue import Catalogue
from instar_controller.api.routing import Router
from instar_controller.api.services import Services
from instar_controller.api.traffic import Traffic
from instar_controller.errors import MalformedError, NotOfferedError, RefusedError
from instar_controller.whisk import action as documents
from instar_controller.whisk import activation as activations
from instar_controller.whisk import parameters
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import Key
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import EffectiveLimits
from instar_controller.whisk.response import Status
from instar_controller.whisk.store_level import StoreLevel
from instar_controller.whisk.values import JsonObject

ACTIVATION_HEADER = "x-openwhisk-activation-id"
EXTRA_LOGGING_HEADER = "X-OW-EXTRA-LOGGING"

HTTP_STATUSES = {
    Status.SUCCESS: 200,
    Status.APPLICATION_ERROR: 502,
    Status.DEVELOPER_ERROR: 502,
    Status.WHISK_ERROR: 500,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """How the caller wants the answer."""

    blocking: bool
    result_only: bool
    wait_ms: int


class Invoking:
    """The route that invokes."""

    def __init__(self, services: Services, catalogue: Catalogue, traffic: Traffic) -> None:
        self._services = services
        self._catalogue = catalogue
        self._traffic = traffic

    def register(self, router: Router) -> None:
        for rule in (PLAIN, PACKAGED):
            router.protected("POST", rule, self.invoke)

    def invoke(self, caller: Identity, namespace: str, name: str, package: str = "") -> Response:
        received_ms = self._services.clock.now_ms()
        key = references.action_key(caller, namespace, package, name)
        wish = Wish(
            blocking=queries.flag("blocking", default=False),
            result_only=queries.flag("result", default=False),
            wait_ms=queries.wait_ms(most=self._services.limits.max_wait_ms),
        )
        limits = EffectiveLimits(caller.limits, self._services.limits)
        self._traffic.admit(caller.namespace, limits, now_ms=received_ms)
        try:
            invocation = self._prepare(caller, key, wish, received_ms)
            subject = invocation.activation_id, invocation.transaction_id
            with log_context.about(*subject, extra_logging=invocation.extra_logging):
                future = self._services.invocations.submit(invocation)
        except BaseException:
            self._traffic.leave(caller.namespace)
            raise
        self._follow(invocation, future)
        return _answer(invocation.activation_id, future, wish)

    def _prepare(self, caller: Identity, key: Key, wish: Wish, received_ms: int) -> Invocation:
        """The invocation that the current request asks for. Raises what the request deserves."""
        place = references.locate(caller, key, self._catalogue)
        payload = _read_payload(self._services.limits.max_payload_bytes)
        stored = self._catalogue.action(place.key)
        action = place.merged(stored.action)
        self._check_runnable(caller, action)
        if not action.final_keys.isdisjoint(payload):
            raise RefusedError("Request defines parameters that are not allowed (e.g., reserved properties).")
        content, environment = parameters.split(action.parameters, payload)
        wants_records = caller.limits.store_activations is not False
        return Invocation(
            activation_id=activations.new_id(),
            transaction_id=transactions.current(),
            action=stored.action,
            revision=stored.revision,
            namespace=caller.namespace,
            subject=caller.subject,
            api_key=caller.api_key,
            content=content,
            environment=environment,
            received_ms=received_ms,
            blocking=wish.blocking,
            binding=place.binding,
            store_level=StoreLevel.ALWAYS if wants_records else StoreLevel.NEVER,
            extra_logging=request.headers.get(EXTRA_LOGGING_HEADER, "").lower() == "on",
        )

    def _check_runnable(self, caller: Identity, action: documents.Action) -> None:
        entitlement.require_kind(caller, action.exec.kind)
        if parameters.is_true(action.annotations, documents.CONDUCTOR):
            raise NotOfferedError("Conductor actions (compositions)")
        kind = self._services.manifest.resolve(action.exec.kind)
        if kind is None:
            raise RefusedError(
                f"The kind '{action.exec.kind}' of the action '{action.full_name}' is not in this server's "
                "manifest; update the action to another kind."
            )
        documents.check_in_use(kind)

    def _follow(self, invocation: Invocation, future: Future[Activation]) -> None:
        """Have the slot given back when the invocation is completed."""
        action = invocation.action
        self._traffic.begin(invocation.activation_id, f"{action.full_name}@{action.version}")

        def ended(_: Future[Activation]) -> None:
            self._traffic.end(invocation.activation_id)
            self._traffic.leave(invocation.namespace)

        future.add_done_callback(ended)


def _read_payload(limit_bytes: int) -> JsonObject:
    payload = bodies.read_json_or_nothing(limit_bytes=limit_bytes)
    if payload is None:
        return {}
    if not isinstance(payload, Mapping):
        raise MalformedError.content("JSON object expected")
    return payload


def _answer(activation_id: ActivationId, future: Future[Activation], wish: Wish) -> Response:
    if wish.blocking:
        futures.wait([future], timeout=wish.wait_ms / 1000)
    if wish.blocking and future.done():
        answer = _completed(future.result(), wish)
    else:
        answer = json_answer({"activationId": activation_id}, 202)
    answer.headers[ACTIVATION_HEADER] = activation_id
    return answer


def _completed(activation: Activation, wish: Wish) -> Response:
    response = activation.response
    # An array cannot carry a record's fields beside it, so OpenWhisk shows it bare in any case.
    bare = wish.result_only or isinstance(response.result, list)
    shown = response.result if bare else activation.with_logs(()).to_record()
    return json_answer(shown, HTTP_STATUSES[response.status])
