"""Activation records to keep."""

from __future__ import annotations

from instar_controller.whisk import stored_activation
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.values import JsonObject


def activation(number: int, *, result: object = None, namespace: str = "guest") -> Activation:
    """One record; its number makes its id."""
    return Activation(
        activation_id=ActivationId(f"{number:032x}"),
        namespace=namespace,
        name="f",
        version="0.0.1",
        subject=namespace,
        start=1795314652106 + number,
        end=1795314652116 + number,
        duration=10,
        response=Response(Status.SUCCESS, {"ü": number} if result is None else result, 9),  # type: ignore[arg-type]
        path=f"{namespace}/f",
        kind="python:3",
        limits={"concurrency": 1, "logs": 10, "memory": 256, "timeout": 60000},
        timeout=False,
        wait_time=40,
        logs=("2026-11-22T02:30:52.117539662Z stdout: said\ttab, \\ and ❄",),
    )


def id_of(number: int) -> str:
    """The id of that record's document."""
    return f"guest/{number:032x}"


def content(document: JsonObject) -> JsonObject:
    """What was to be stored, without what the database or the time of day adds."""
    return {key: value for key, value in document.items() if key not in ("_rev", "updated")}


def expected(record: Activation) -> JsonObject:
    return content(stored_activation.document(record, updated_ms=0))
