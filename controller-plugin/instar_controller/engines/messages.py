"""The bodies of `/init` and `/run`, exactly as OpenWhisk's invoker sends them, and of `/transform`, which is ours.

One rule: the caller's key is in them only if the action's annotations let it. The deadline is the caller's to
take, just before it sends.
"""

from __future__ import annotations

import zlib

from instar_controller.policies.estimates import PlanOffer
from instar_controller.whisk.action import DEFAULT_MAIN
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.values import JsonObject, compact


def init_body(invocation: Invocation, *, deadline_ms: int) -> bytes:
    """The body of `/init`: the code and the environment that it is loaded with."""
    return compact({"value": _function(invocation, deadline_ms)}).encode()


def transform_body(invocation: Invocation, offer: PlanOffer | None, *, deadline_ms: int) -> bytes:
    """The body of `/transform`: that of `/init`, the plan, null where the container is to load, and the line that
    parts the two functions' logs.

    The plan is JSON already and goes in as it is: the container takes no other bytes for it.
    """
    value = compact(_function(invocation, deadline_ms)).encode()
    plan = b"null" if offer is None else zlib.decompress(offer.plan)
    return b"".join((b'{"value":', value, b',"plan":', plan, b',"mark":', compact(mark(invocation)).encode(), b"}"))


def mark(invocation: Invocation) -> str:
    """A line that no function could have written before this activation was sent to its container."""
    return str(invocation.activation_id)


def run_body(invocation: Invocation, *, deadline_ms: int) -> bytes:
    """The body of `/run`: the arguments, and the context of this call."""
    return compact({**_context(invocation, deadline_ms), "value": invocation.content}).encode()


def _function(invocation: Invocation, deadline_ms: int) -> JsonObject:
    code = invocation.action.exec
    environment = {
        **invocation.environment,
        **{f"__OW_{key.upper()}": value for key, value in _context(invocation, deadline_ms).items()},
    }
    return {
        "name": invocation.action.name,
        "main": code.main or DEFAULT_MAIN,
        "binary": code.binary,
        "code": code.code,
        "env": environment,
    }


def _context(invocation: Invocation, deadline_ms: int) -> dict[str, str]:
    context = {
        "namespace": invocation.namespace,
        "action_name": f"/{invocation.action.full_name}",
        "action_version": str(invocation.action.version),
        "activation_id": str(invocation.activation_id),
        "transaction_id": invocation.transaction_id,
        "deadline": str(deadline_ms),
    }
    if invocation.action.provides_api_key and invocation.api_key:  # a caller may have none of this form
        context["api_key"] = invocation.api_key
    return context
