"""The server about itself: what it is, what it offers, how it is. For everyone, without a key."""

from __future__ import annotations

from flask import Response

from instar_controller.api.answers import json_answer, service_answer, text_answer
from instar_controller.api.routing import BASE, Router
from instar_controller.api.services import Services
from instar_controller.api.traffic import Traffic
from instar_controller.errors import MethodError
from instar_controller.whisk.limits import MIB, Bounds
from instar_controller.whisk.values import Json


class Service:
    """The routes about the server."""

    def __init__(self, services: Services, traffic: Traffic) -> None:
        self._services = services
        self._traffic = traffic

    def register(self, router: Router) -> None:
        router.open("GET", "/", self.info)
        router.open("GET", BASE, self.api)
        router.open("GET", f"{BASE}/", self.api)
        router.open("GET", "/ping", self.ping)
        router.open("GET", "/invokers", self.invokers)
        router.open("GET", "/invokers/ready", self.ready)
        router.open("GET", "/invokers/healthy/count", self.healthy_count)
        router.open("GET", "/activation", self.in_flight)
        router.open("GET", "/activation/count", self.in_flight_count)
        router.open("GET", "/metrics", self.metrics)

    def info(self) -> Response:
        return json_answer(
            {
                "description": "OpenWhisk",
                "support": {},
                "api_paths": [BASE],
                "limits": self._limits(),
                "runtimes": self._services.manifest.to_json(),
            }
        )

    def _limits(self) -> dict[str, Json]:
        limits = self._services.limits
        shown: dict[str, Json] = {
            "actions_per_minute": limits.invocations_per_minute,
            "triggers_per_minute": limits.fires_per_minute,
            "concurrent_actions": limits.concurrent_invocations,
            "sequence_length": 0,  # none are offered
        }
        for name, bounds, unit in (
            ("duration", limits.timeout_ms, 1),
            ("memory", limits.memory_mb, MIB),
            ("logs", limits.logs_mb, MIB),
        ):
            shown |= _bounds(name, bounds, unit)
        return shown

    def api(self) -> Response:
        build = self._services.build
        return json_answer(
            {
                "api_version": "1.0.0",
                "api_version_path": "v1",
                "build": build.name,
                "buildno": build.number,
                "description": "OpenWhisk API",
                "swagger_paths": {"api-docs": "/api-docs", "ui": "/docs"},
            }
        )

    def ping(self) -> Response:
        return text_answer("pong")

    def invokers(self) -> Response:
        return service_answer(dict(self._services.invocations.invokers()))

    def ready(self) -> Response:
        """200 only if every invoker is up and there is one: a stock controller divides whole numbers here."""
        states = list(self._services.invocations.invokers().values())
        ratio = f"{states.count('up')}/{len(states)}"
        if states and all(state == "up" for state in states):
            return service_answer({"healthy": ratio})
        return service_answer({"unhealthy": f"{len(states) - states.count('up')}/{len(states)}"}, 500)

    def healthy_count(self) -> Response:
        return service_answer(list(self._services.invocations.invokers().values()).count("up"))

    def in_flight(self) -> Response:
        return service_answer([[id, name] for id, name in self._traffic.in_flight()])

    def in_flight_count(self) -> Response:
        return service_answer(len(self._traffic.in_flight()))

    def metrics(self) -> Response:
        # What a stock controller says while its Prometheus reporter is off.
        raise MethodError("HTTP method not allowed, supported methods: OPTIONS")


def _bounds(name: str, bounds: Bounds, unit: int) -> dict[str, Json]:
    shown: dict[str, Json] = {}
    for prefix in ("", "default_"):
        shown[f"{prefix}min_action_{name}"] = bounds.least * unit
        shown[f"{prefix}max_action_{name}"] = bounds.most * unit
    return shown
