"""The two routes of the OpenWhisk runtime protocol, and `/ready` and `/transform`, which only Instar asks for.

The rule: an answer is JSON with an exact `Content-Length`; a reply without one looks like a crash to OpenWhisk.
Where weights were loaded since the run before, a header of the answer says how many and how long that was waited for.
`/transform` is there only in a container that was given a token, for whoever knows that; of what others send it looks
at nothing. What a request means is `instar.proxy.function`'s to say.
"""

from __future__ import annotations

import hmac
import json

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException

from instar.executor.meter import NOTHING, Reading
from instar.plan import plans
from instar.proxy.function import Function, Reply, failure
from instar.proxy.limits import BodyLimits
from instar.proxy.wiping import wiping
from instar.weights import kernel

WEIGHTS_HEADER = "X-Instar-Weights"  # a stock OpenWhisk ignores it
DRAIN_BYTES = 1 << 30  # of a body that is refused; a client reads no answer while it still writes
PIECE_BYTES = 1 << 18


def create(function: Function, limits: BodyLimits, *, token: str | None = None) -> Flask:
    app = Flask("instar.proxy")

    @app.get("/ready")
    def ready() -> Response:
        return _response(function.ready())

    @app.post("/init")
    @wiping()
    def init() -> Response:
        body = _body(request, limits.init_bytes)
        return _trimming(_response(function.init(body) if isinstance(body, bytes) else body))

    @app.post("/run")
    def run() -> Response:
        body = _body(request, limits.run_bytes)
        return _response(function.run(body) if isinstance(body, bytes) else body)

    if token is not None:
        bearer = f"Bearer {token}".encode()

        @app.post("/transform")
        @wiping()
        def transform() -> Response:
            # Compared in constant time, so that how long it takes tells nothing.
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), bearer):
                _drain(request)
                refused = _response(failure(401, "POST /transform takes this container's token"))
                refused.headers["WWW-Authenticate"] = "Bearer"
                return refused
            body = _body(request, limits.init_bytes + plans.MAX_BYTES)
            return _trimming(_response(function.transform(body) if isinstance(body, bytes) else body))

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        where = f"{request.method} {request.path}"
        return _response(failure(error.code or 500, f"{where}: {error.name}; this serves POST /init and POST /run"))

    return app


def _body(request: Request, limit: int) -> bytes | Reply:
    stated = request.content_length
    if stated is None or stated <= limit:
        body = request.stream.read(limit + 1)
        if len(body) <= limit:
            return body
    _drain(request)
    size = "more" if stated is None else f"{stated} bytes"
    return failure(413, f"the body of {request.path} has {size}; at most {limit} bytes are read")


def _drain(request: Request) -> None:
    left = DRAIN_BYTES
    while left > 0 and (piece := request.stream.read(min(left, PIECE_BYTES))):
        left -= len(piece)


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status, content_type="application/json")
    if reply.weights != NOTHING:
        response.headers[WEIGHTS_HEADER] = _weights(reply.weights)
    return response


def _trimming(response: Response) -> Response:
    """Give what the archive took back to the system, once the answer has left."""
    response.call_on_close(kernel.trim)
    return response


def _weights(amounts: Reading) -> str:
    """Bytes that came from elsewhere, bytes that were on the node, in whichever file, and how long was waited."""
    return json.dumps(
        {
            "fetchedBytes": amounts.fetched_bytes,
            "presentBytes": amounts.present_bytes + amounts.reused_bytes,
            "waitedMs": round(amounts.waited_ns / 1e6, 3),
        }
    )
