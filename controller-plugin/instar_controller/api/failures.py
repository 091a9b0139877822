"""Errors as answers: the one place that gives an error its status.

One rule: the body is always `{"error", "code"}`, with the request's id as the code: without both, `wsk`
says that the connection failed. Errors that no route's own logic has raised go without the headers for
browsers, as recorded.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from instar_controller import errors
from instar_controller.api import auth, transactions
from instar_controller.api.answers import CORS, bare_json_answer, text_answer

logger = logging.getLogger(__name__)

INTERNAL = "There was an internal server error."

STATUSES: dict[type[errors.ControllerError], int] = {
    errors.MalformedError: 400,
    errors.RefusedError: 400,
    errors.UnauthenticatedError: 401,
    errors.ForbiddenError: 403,
    errors.NotFoundError: 404,
    errors.UnroutableError: 404,
    errors.MethodError: 405,
    errors.UnacceptableError: 406,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.MediaTypeError: 415,
    errors.ThrottledError: 429,
    errors.NotOfferedError: 501,
    errors.OverloadedError: 503,
}

WITHOUT_CORS = (
    errors.MalformedError,
    errors.UnauthenticatedError,
    errors.UnroutableError,
    errors.MethodError,
    errors.UnacceptableError,
    errors.MediaTypeError,
)


def register(app: Flask) -> None:
    app.register_error_handler(errors.ControllerError, _refused)
    app.register_error_handler(HTTPException, _unrouted)
    app.register_error_handler(Exception, _unexpected)


def _refused(error: errors.ControllerError) -> Response:
    status = STATUSES.get(type(error), 500)
    if status == 500:
        logger.error("%s %s: %s", request.method, request.path, error, exc_info=error)
    answer = _answer(str(error), status)
    if not isinstance(error, WITHOUT_CORS):
        answer.headers.update(CORS)
    if isinstance(error, errors.UnauthenticatedError):
        answer.headers["WWW-Authenticate"] = auth.CHALLENGE
    if isinstance(error, errors.MethodError):
        answer.headers["Allow"] = "OPTIONS"
    return answer


def _unrouted(error: HTTPException) -> Response:
    match error:
        case RequestEntityTooLarge():
            return text_answer("Request too large", 400)
        case NotFound() | MethodNotAllowed():
            # A path that exists, but not with this method, is no resource either: OpenWhisk answers both alike.
            return _refused(errors.UnroutableError())
        case _:
            return _answer(error.description or error.name, error.code or 500)


def _unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    answer = _answer(INTERNAL, 500)
    answer.headers.update(CORS)
    return answer


def _answer(error: str, status: int) -> Response:
    return bare_json_answer({"code": transactions.current(), "error": error}, status)
