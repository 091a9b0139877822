"""A plain client of the REST API, for tests: in this process, over Flask's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.util import is_hop_by_hop

from flask import Flask

from instar_controller.whisk.identity import Identity


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error; checks that `wsk` would show it."""
        assert set(self.json) == {"error", "code"}, self.json
        assert self.json["code"] == self.headers["X-Request-ID"]
        text: str = self.json["error"]
        return text


class RestClient:
    """Sends requests as one identity; paths are relative to the caller's namespace unless they begin with "/"."""

    def __init__(self, app: Flask, identity: Identity | None) -> None:
        self._client = app.test_client()
        self._identity = identity

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        sent = {} if data is None else {"Content-Type": "application/json"}
        if self._identity is not None:
            sent["Authorization"] = basic(self._identity.api_key)
        target = path if path.startswith("/") else f"/api/v1/namespaces/_/{path}"
        answer = self._client.open(target, method=method, data=data, headers={**sent, **(headers or {})})
        # A server refuses an application's answer that has one of these (PEP 3333); Flask's own client does not.
        assert not any(is_hop_by_hop(name) for name, _ in answer.headers)
        return Answer(answer.status_code, answer.headers, answer.data)

    def get(self, path: str, **options: Any) -> Answer:
        return self.send("GET", path, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.send("PUT", path, body, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.send("POST", path, body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.send("DELETE", path, **options)

    def create(self, name: str, code: str = "def main(args):\n    return args\n", **fields: Any) -> Answer:
        """PUT an action that must succeed."""
        answer = self.put(f"actions/{name}", {"exec": {"kind": "python:3", "code": code}, **fields})
        assert answer.status == 200, answer.body
        return answer

    def invoke(self, name: str, payload: Any = None, query: str = "") -> Answer:
        """A blocking invocation."""
        return self.post(f"actions/{name}?blocking=true{query}", payload)


def basic(api_key: str) -> str:
    return "Basic " + base64.b64encode(api_key.encode()).decode()
