"""The HTTP server that operators and probes ask: how a program of a cluster is, and whether it may take work.

    GET  /ping       `pong`                                          as the stock invoker's
    GET  /metrics    Prometheus' text
    GET  /livez      200 while the program's own parts work; 503 and what does not
    GET  /readyz     200 while work can be done; 503 and why not: bus, database, engine
    POST /enable, POST /disable, GET /isEnabled                      as the stock invoker's, with Basic authentication

One rule: nothing here waits for the outside; what is told was found out by others. The server is no way in for work.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hmac
import ipaddress
import json
import logging
import os
import secrets
import socket
import string
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import waitress  # type: ignore[import-untyped]
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from instar_controller.clients import metrics
from instar_controller.cluster_settings import OperationsSettings
from instar_controller.errors import OverloadedError, SettingsError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
UNPROVEN = "Authentication is possible but has failed or not yet been provided."
CHALLENGE = 'Basic realm="instar",charset=UTF-8'
ALPHABET = string.ascii_letters + string.digits
THREADS = 4
MAX_BODY_BYTES = 1 << 16  # nobody has anything to send


class Switch(Protocol):
    """Whether the program may be given work, as an operator wants it. Safe for several threads; never waits.

    To turn it raises `OverloadedError` as long as there is nothing to turn.
    """

    @property
    def is_enabled(self) -> bool: ...

    def enable(self) -> None: ...

    def disable(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Operations:
    """What the server tells, and what it turns."""

    name: str  # as `invoker0`
    switch: Switch
    exposition: Callable[[], bytes]
    ailments: Callable[[], Sequence[str]]  # of the program's own parts; none while it lives
    obstacles: Callable[[], Sequence[str]]  # to doing work; none while it is ready


def create_app(operations: Operations, settings: OperationsSettings) -> Flask:
    """The application."""
    app = Flask("instar_operations", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    def protected(act: Callable[[], Response]) -> Callable[[], Response]:
        def view() -> Response:
            return act() if _is_proven(request.headers.get("Authorization"), settings) else _unproven()

        view.__name__ = act.__name__
        return view

    def ping() -> Response:
        return _text("pong")

    def numbers() -> Response:
        return Response(operations.exposition(), content_type=metrics.CONTENT_TYPE)

    def livez() -> Response:
        return _health(operations.ailments())

    def readyz() -> Response:
        return _health(operations.obstacles())

    def enable() -> Response:
        return turn(operations.switch.enable, "enabled")

    def disable() -> Response:
        return turn(operations.switch.disable, "disabled")

    def turn(act: Callable[[], None], state: str) -> Response:
        try:
            act()
        except OverloadedError as error:
            return _error(str(error), 503)
        logger.warning("%s is now %s, as an operator has asked", operations.name, state)
        return _text(f"{operations.name} is now {state}.")

    def is_enabled() -> Response:
        return _text(
            '{"enabled":%s}' % ("true" if operations.switch.is_enabled else "false")
        )  # stock: JSON, called text

    for rule, view, method in (
        ("/ping", ping, "GET"),
        ("/metrics", numbers, "GET"),
        ("/livez", livez, "GET"),
        ("/readyz", readyz, "GET"),
        ("/enable", protected(enable), "POST"),
        ("/disable", protected(disable), "POST"),
        ("/isEnabled", protected(is_enabled), "GET"),
    ):
        app.add_url_rule(rule, view_func=view, methods=[method], provide_automatic_options=False)
    app.register_error_handler(HTTPException, _failure)
    app.after_request(_with_request_id)
    return app


class OperationsServer:
    """Serves the application from a thread of its own. Made with its port; `start` it, and `close` it at the end."""

    def __init__(self, settings: OperationsSettings) -> None:
        """Raises `SettingsError` if the port cannot be had."""
        self._settings = settings
        self._listener = _listen(settings)
        self._app: Flask | None = None
        self._server: waitress.server.MultiSocketServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside of this machine can reach it."""
        return ipaddress.ip_address(self._listener.getsockname()[0]).is_loopback

    def start(self, operations: Operations) -> None:
        """Tell and turn this, and when called again that instead."""
        self._app = create_app(operations, self._settings)
        if self._server is not None:
            return
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue of requests is no news here
        server = waitress.create_server(
            self._answer,
            sockets=[self._listener],
            threads=THREADS,
            asyncore_use_poll=True,
            max_request_body_size=MAX_BODY_BYTES,
            ident="instar",
        )
        self._server = server
        self._thread = threading.Thread(target=_serve, args=(server,), name="instar-operations", daemon=True)
        self._thread.start()

    def _answer(self, environment: WSGIEnvironment, begin: StartResponse) -> Iterable[bytes]:
        assert self._app is not None
        return self._app(environment, begin)

    def close(self) -> None:
        """Serve no more."""
        if self._server is not None and self._thread is not None:
            self._server.close()
            self._thread.join(5.0)
        self._listener.close()


def _serve(server: waitress.server.MultiSocketServer) -> None:
    try:
        server.run()
    except OSError as error:
        if error.errno != errno.EBADF:  # its sockets were closed while it looked at them: the end
            raise


def _listen(settings: OperationsSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise SettingsError(
            f"cannot listen on port {settings.port} of {settings.host}: {why}; choose another with --port or --host"
        ) from error


def _is_proven(header: str | None, settings: OperationsSettings) -> bool:
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, f"{settings.username}:{settings.password}".encode())


def _unproven() -> Response:
    answer = _error(UNPROVEN, 401)
    answer.headers["WWW-Authenticate"] = CHALLENGE
    return answer


def _health(problems: Sequence[str]) -> Response:
    return _text("\n".join(problems), 503) if problems else _text("ok")


def _failure(error: HTTPException) -> Response:
    return _error(error.description or error.name, error.code or 500)


def _error(message: str, status: int) -> Response:
    body = json.dumps({"code": _request_id(), "error": message}, indent=2)  # as the stock server prints it
    return Response(body, status=status, mimetype="application/json")


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status=status, content_type="text/plain; charset=UTF-8")


def _with_request_id(response: Response) -> Response:
    response.headers[REQUEST_ID] = _request_id()
    return response


def _request_id() -> str:
    """The client's own, or one that is made for this request."""
    found: str | None = request.environ.get("instar.request_id")
    if found is None:
        found = request.headers.get(REQUEST_ID) or "".join(secrets.choice(ALPHABET) for _ in range(32))
        request.environ["instar.request_id"] = found
    return found
