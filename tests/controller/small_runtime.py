"""The least that OpenWhisk asks of an action image, for tests that break containers and look at nothing else of them.

It is not imported: it is the program of the image that `small_image` makes. `/init` executes the code, `/run` calls
its `main`. Before the log's sentinels are written, and after the answer has left, it calls `after(args)` if the code
has one: so a test can come in between.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
PORT = 8080

functions: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["value"]
        if self.path == "/init":
            try:
                exec(value["code"], functions)
            except Exception as error:
                self.answer(502, {"error": repr(error)})
            else:
                self.answer(200, {"ok": True})
            return
        self.answer(200, functions["main"](value))
        functions.get("after", lambda _: None)(value)
        for stream in (sys.stdout, sys.stderr):
            print(SENTINEL, file=stream, flush=True)

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # as process 1 it would not end by itself
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
