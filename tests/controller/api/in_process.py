"""A stand-in for containers: runs an action's Python source in this process.

It is for tests of the API alone. What becomes of an answer is `whisk.response`'s, as it is for real containers;
how containers are started, kept and ended is tested with real ones.
"""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

from instar_controller.errors import OverloadedError
from instar_controller.ports import Clock, Store
from instar_controller.whisk import response
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import MIB
from instar_controller.whisk.response import Disconnected, Outcome, Replied

# One thread at a time may hold the process's standard output.
_STDOUT = threading.Lock()


class InProcess:
    """An `Invocations`. `is_up` False makes it refuse, as a platform without a healthy invoker does."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="in-process")
        self.is_up = True
        self.seen: list[Invocation] = []

    def submit(self, invocation: Invocation) -> Future[Activation]:
        if not self.is_up:
            raise OverloadedError
        self.seen.append(invocation)
        return self._pool.submit(self._carry_out, invocation)

    def invokers(self) -> Mapping[str, str]:
        return {"invoker0": "up" if self.is_up else "unhealthy"}

    def close(self) -> None:
        self._pool.shutdown()

    def _carry_out(self, invocation: Invocation) -> Activation:
        action = invocation.action
        start = self._clock.now_ms()
        outcome, printed = _execute(invocation)
        end = self._clock.now_ms()
        activation = Activation(
            activation_id=invocation.activation_id,
            namespace=invocation.namespace,
            name=action.name,
            version=str(action.version),
            subject=invocation.subject,
            start=start,
            end=end,
            duration=end - start,
            response=response.of_run(outcome, max_result_bytes=MIB),
            path=action.full_name,
            kind=action.exec.kind,
            limits=action.limits.to_json(),
            timeout=False,
            wait_time=start - invocation.received_ms,
            binding=invocation.binding,
            logs=tuple(f"2026-01-01T00:00:00.000000000Z stdout: {line}" for line in printed.splitlines()),
        )
        if invocation.store_level.takes(activation.response.status):
            self._store.put_activation(activation)
        return activation.with_logs(())


def _execute(invocation: Invocation) -> tuple[Outcome, str]:
    printed = io.StringIO()
    scope: dict[str, Any] = {"ENV": dict(invocation.environment)}
    try:
        with _STDOUT, redirect_stdout(printed):
            exec(invocation.action.exec.code, scope)
        result = scope[invocation.action.exec.main or "main"](invocation.content)
        text = json.dumps(result)
    except SystemExit:
        return Disconnected(), printed.getvalue()
    except Exception as error:
        logging.getLogger(__name__).debug("the action raised", exc_info=error)
        text = json.dumps({"error": str(error)})
    body = text.encode() + b"\n"
    return Replied(200, body[: MIB + 1], len(body)), printed.getvalue()
