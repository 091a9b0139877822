"""What OpenWhisk has and this server has not: said clearly, on each of its routes.

One rule: a route here answers 501 and names the document that lists it; it never half-works. Lists of
triggers and rules are the exception, and honest: there are none, and clients that show a whole namespace
ask for them.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Response

from instar_controller.api import entitlement, queries
from instar_controller.api.answers import json_answer
from instar_controller.api.routing import BASE, NAMESPACE, WEB, Router
from instar_controller.errors import NotOfferedError
from instar_controller.whisk import names
from instar_controller.whisk.identity import Identity

METHODS = ("GET", "PUT", "POST", "DELETE")

# What is said -> the routes without a key on which it is said.
OPEN = {
    "Web actions and the API gateway": ((*METHODS, "PATCH"), (f"{WEB}<path:rest>",)),
    "Swagger documents": (("GET",), (f"{BASE}/api-docs", "/api-docs", "/docs", "/docs/<path:rest>")),
    "Operator's switches": (("POST",), ("/disable", "/enable")),
}


def register(router: Router) -> None:
    for collection in ("triggers", "rules"):
        for rule in (f"{NAMESPACE}/{collection}", f"{NAMESPACE}/{collection}/"):
            router.protected("GET", rule, _empty_list(collection))
        for method in METHODS:
            router.protected(method, f"{NAMESPACE}/{collection}/<name>", _refusal(collection.capitalize()))
    for what, (methods, rules) in OPEN.items():
        for rule in rules:
            for method in methods:
                router.open(method, rule, _open_refusal(what))


def _empty_list(collection: str) -> Callable[[Identity, str], Response]:
    def show(caller: Identity, namespace: str) -> Response:
        entitlement.require_own(caller, names.resolve_namespace(namespace, own=caller.namespace))
        queries.page(collection)
        if queries.flag("count", default=False):
            return json_answer({collection: 0})
        return json_answer([])

    return show


def _refusal(what: str) -> Callable[[Identity, str, str], Response]:
    def refuse(caller: Identity, namespace: str, name: str) -> Response:
        raise NotOfferedError(what)

    return refuse


def _open_refusal(what: str) -> Callable[..., Response]:
    def refuse(rest: str = "") -> Response:
        raise NotOfferedError(what)

    return refuse
