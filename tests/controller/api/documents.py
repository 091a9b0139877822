"""Documents and records for tests of the store."""

from __future__ import annotations

from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import Collection, Document, Key
from instar_controller.whisk.response import Response, Status


def key(name: str, package: str = "", namespace: str = "guest") -> Key:
    return Key(Collection.ACTIONS, namespace, name, package)


def document(name: str, *, package: str = "", at_ms: int = 1, code: str = "code", n: int = 0) -> Document:
    return Document(key(name, package), {"n": n, "ü": ["❄", None]}, at_ms, code=code)


def activation(
    number: int,
    *,
    name: str = "echo",
    namespace: str = "guest",
    start: int | None = None,
    result: str = "r",
    logs: tuple[str, ...] = (),
) -> Activation:
    return Activation(
        activation_id=ActivationId(f"{number:032x}"),
        namespace=namespace,
        name=name.rpartition("/")[2],
        version="0.0.1",
        subject="guest",
        start=number if start is None else start,
        end=number + 5,
        duration=5,
        response=Response(Status.SUCCESS, {"result": result}, 12),
        path=f"guest/{name}",
        kind="python:3",
        limits={"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        timeout=False,
        wait_time=3,
        init_time=2,
        instar={"start": "cold"},
        logs=logs,
    )
