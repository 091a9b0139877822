"""How an answer looks: compact JSON and the headers that let browsers read it."""

from __future__ import annotations

from flask import Response

from instar_controller.whisk.values import Json, compact

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent",
    "Access-Control-Allow-Methods": "GET, DELETE, POST, PUT, HEAD",
}


def json_answer(value: Json, status: int = 200) -> Response:
    answer = bare_json_answer(value, status)
    answer.headers.update(CORS)
    return answer


def bare_json_answer(value: Json, status: int) -> Response:
    """Without the headers for browsers, as OpenWhisk answers where no route took the request."""
    return Response(compact(value), status=status, mimetype="application/json")


def text_answer(text: str, status: int = 200) -> Response:
    return Response(text, status=status, content_type="text/plain; charset=UTF-8")


def empty_answer() -> Response:
    return Response(status=200, headers=CORS)
