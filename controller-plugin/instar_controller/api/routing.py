"""Routes: how a path reaches its function, with the caller known.

One rule: a function behind `protected` is called with a proved caller and a client that takes JSON, or not
at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec

from flask import Flask, Response, request

from instar_controller.api import auth
from instar_controller.errors import UnacceptableError
from instar_controller.ports import Store
from instar_controller.whisk.identity import Identity

Path = ParamSpec("Path")

BASE = "/api/v1"
NAMESPACE = f"{BASE}/namespaces/<namespace>"
WEB = f"{BASE}/web/"


class Router:
    """Adds routes to an app."""

    def __init__(self, app: Flask, store: Store) -> None:
        self._app = app
        self._store = store

    def open(self, method: str, rule: str, view: Callable[Path, Response]) -> None:
        """A route for everyone."""
        self._app.add_url_rule(rule, f"{method} {rule}", view, methods=[method], provide_automatic_options=False)

    def protected(self, method: str, rule: str, view: Callable[Concatenate[Identity, Path], Response]) -> None:
        """A route for callers with a key."""

        def authenticated(*args: Path.args, **path: Path.kwargs) -> Response:
            caller = auth.authenticate(request.headers.get("Authorization"), self._store)
            _check_accept()
            return view(caller, *args, **path)

        self.open(method, rule, authenticated)


def _check_accept() -> None:
    accept = request.accept_mimetypes
    if accept and not accept.quality("application/json"):
        raise UnacceptableError("Resource representation is only available with these types:\napplication/json")
