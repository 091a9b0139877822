"""How an answer looks: compact JSON and the headers that let browsers read it."""

from __future__ import annotations

from flask import Response

from instar_controller.whisk.values import Json, compact

HEADERS_FOR_BROWSERS = "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"


def cors(methods: str) -> dict[str, str]:
    """The headers that let a browser's page of any origin read an answer, for routes with these methods."""
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Headers": HEADERS_FOR_BROWSERS,
        "Access-Control-Allow-Methods": methods,
    }


CORS = cors("GET, DELETE, POST, PUT, HEAD")
CORS_OF_SERVICE = cors("OPTIONS, GET, POST")
CORS_OF_WEB = cors("OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH")


def json_answer(value: Json, status: int = 200) -> Response:
    answer = bare_json_answer(value, status)
    answer.headers.update(CORS)
    return answer


def service_answer(value: Json, status: int = 200) -> Response:
    """As the routes about the server itself answer."""
    answer = bare_json_answer(value, status)
    answer.headers.update(CORS_OF_SERVICE)
    return answer


def bare_json_answer(value: Json, status: int) -> Response:
    """Without the headers for browsers, as OpenWhisk answers where no route took the request."""
    return Response(compact(value), status=status, mimetype="application/json")


def text_answer(text: str, status: int = 200) -> Response:
    return Response(text, status=status, content_type="text/plain; charset=UTF-8")


def empty_answer(headers: dict[str, str]) -> Response:
    answer = Response(status=200, headers=headers)
    del answer.headers["Content-Type"]
    return answer
