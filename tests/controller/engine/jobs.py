"""Invocations for the tests of the engine, with every field that a test does not care about filled in."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping

from instar_controller.whisk import version
from instar_controller.whisk.action import Action, Exec
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import ActionLimits
from instar_controller.whisk.parameters import Parameter, Parameters
from instar_controller.whisk.store_level import StoreLevel
from instar_controller.whisk.values import Json

ECHO = "def main(args):\n    return args\n"
NO_KEY: Parameters = (Parameter("provide-api-key", False),)

_ids = itertools.count(1)


def action(
    code: str = ECHO,
    *,
    name: str = "f",
    package: str = "",
    kind: str = "python:3",
    binary: bool = False,
    main: str | None = None,
    memory_mb: int = 256,
    timeout_ms: int = 60_000,
    logs_mb: int = 10,
    annotations: Parameters = NO_KEY,
) -> Action:
    return Action(
        namespace="guest",
        package=package,
        name=name,
        version=version.FIRST,
        publish=False,
        exec=Exec(kind, code, binary=binary, main=main),
        parameters=(),
        annotations=annotations,
        limits=ActionLimits(timeout_ms, memory_mb, logs_mb, 1),
        updated_ms=0,
    )


def invocation(
    wanted: Action | None = None,
    content: Json = None,
    *,
    revision: int = 1,
    namespace: str = "guest",
    environment: Mapping[str, str] | None = None,
    received_ms: int | None = None,
    store_level: StoreLevel = StoreLevel.ALWAYS,
) -> Invocation:
    return Invocation(
        activation_id=ActivationId(f"{next(_ids):032x}"),
        transaction_id="a-request",
        action=wanted or action(),
        revision=revision,
        namespace=namespace,
        subject=namespace,
        api_key="uuid:secret",
        content={} if content is None else content,
        environment=environment or {},
        received_ms=time.time_ns() // 1_000_000 if received_ms is None else received_ms,
        blocking=True,
        store_level=store_level,
    )
