"""Stands in for OpenWhisk's controller in a container of compose.yaml: the tests' own controller, behind some paths
of the API. It reads brokers, databases and port from the variables that a stock one reads.

    GET  /ping                                              `pong`
    GET  /invokers                                          {"invoker0/dispatcher": "up"}, by the last ping of each
    PUT  /api/v1/namespaces/_/actions/NAME                  keeps an action: its kind and its code
    POST /api/v1/namespaces/_/actions/NAME?blocking=true    runs it; its activation, once it is completed
    GET  /api/v1/namespaces/_/activations/ID                the activation's record, once there is one

Who asks has to be a subject of the database, found by OpenWhisk's own view. Before an invoker has said that it is
there a stock controller refuses; this one waits.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from whisk_controllers import Controller, action

COUCH = "CONFIG_whisk_couchdb_"
PREFIX = "CONFIG_whisk_kafka_topics_prefix"
ACTION = re.compile(r"/api/v1/namespaces/_/actions/(\w+)(?:\?.*)?$")
ACTIVATION = re.compile(r"/api/v1/namespaces/_/activations/(\w+)$")
ANSWER_S = 30  # for the database's answers
LONGEST_S = 140.0  # for an invoker to come, and again for an activation


class Api(BaseHTTPRequestHandler):
    controller: Controller

    def do_GET(self) -> None:
        match self.path:
            case "/ping":
                self._answer(200, "pong")
            case "/invokers":
                states = {_name(ping): "up" if ping["isEnabled"] else "down" for ping in self.controller.pings}
                self._answer(200, states)
            case _:
                self._act(ACTIVATION, self._record)

    def do_PUT(self) -> None:
        self._act(ACTION, self._keep)

    def do_POST(self) -> None:
        self._act(ACTION, self._invoke)

    def _act(self, path: re.Pattern[str], act: Callable[[str, Any], Any]) -> None:
        found = path.match(self.path)
        namespace = _namespace(self.headers.get("Authorization", ""))
        if namespace is None:
            self._answer(401, {"error": "The supplied authentication is invalid."})
        elif found is None:
            self._answer(404, {"error": "The requested resource does not exist."})
        else:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            try:
                self._answer(200, act(f"{namespace}/{found[1]}", body))
            except urllib.error.HTTPError as error:  # the database's own words
                self._answer(error.code, error.read().decode())
            except AssertionError as error:  # what was waited for has not come
                self._answer(503, {"error": str(error)})

    def _record(self, name: str, body: Any) -> Any:
        return _ask("GET", f"{_database('WhiskActivation')}/{quote(name, safe='')}")

    def _keep(self, name: str, body: Any) -> Any:
        document = {**action(name, body["exec"]["code"], {}), "exec": {**body["exec"], "binary": False}}
        return _ask("PUT", f"{_database('WhiskEntity')}/{quote(name, safe='')}", document)

    def _invoke(self, name: str, body: Any) -> Any:
        found = _ask("GET", f"{_database('WhiskEntity')}/{quote(name, safe='')}")
        self.controller.wait(
            lambda: any(ping["isEnabled"] for ping in self.controller.pings), "invoker", wait_s=LONGEST_S
        )
        sent = self.controller.invoke(name, body, revision=found["_rev"])
        self.controller.completion(sent, wait_s=LONGEST_S)
        return sent.activation

    def _answer(self, status: int, body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _name(ping: Any) -> str:
    return f"invoker{ping['name']['instance']}/{ping['name'].get('uniqueName')}"


def _namespace(authorization: str) -> str | None:
    """Whose key it is."""
    uuid, _, key = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    view = f"{_database('WhiskAuth')}/_design/subjects.v2.0.0/_view/identities"
    rows = _ask("GET", f"{view}?key={quote(json.dumps([uuid, key]))}")["rows"]
    return str(rows[0]["value"]["namespace"]) if rows else None


def _database(which: str) -> str:
    return os.environ[f"{COUCH}databases_{which}"]


def _ask(method: str, path: str, body: Any = None) -> Any:
    protocol, host, port, username, password = (
        os.environ[COUCH + name] for name in ("protocol", "host", "port", "username", "password")
    )
    request = urllib.request.Request(
        f"{protocol}://{host}:{port}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode(),
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        return json.load(answer)


def main() -> int:
    """Serve until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    Api.controller = Controller(os.environ["KAFKA_HOSTS"], prefix=os.environ[PREFIX])
    server = ThreadingHTTPServer(("", int(os.environ["PORT"])), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended.wait()
    server.shutdown()
    Api.controller.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
