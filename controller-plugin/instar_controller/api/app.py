"""The REST API as one Flask application.

One rule: every answer carries its request's id, whichever way it came to be. Serving it is the caller's
business; a blocking invocation holds one thread of the server while it waits.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from instar_controller.api import failures, not_offered, transactions
from instar_controller.api.actions import Actions
from instar_controller.api.activations import Activations
from instar_controller.api.answers import CORS, CORS_OF_WEB, empty_answer
from instar_controller.api.catalogue import Catalogue
from instar_controller.api.invoking import Invoking
from instar_controller.api.namespaces import Namespaces
from instar_controller.api.packages import Packages
from instar_controller.api.routing import BASE, WEB, Router
from instar_controller.api.service import Service
from instar_controller.api.services import Services
from instar_controller.api.traffic import Traffic
from instar_controller.errors import UnroutableError


def create_app(services: Services) -> Flask:
    """The application over `services`, which stay the caller's to close."""
    app = Flask("instar_controller", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = services.limits.max_body_bytes
    # Two slashes in a row are an empty name, not one slash; nothing is answered with a redirection.
    app.url_map.merge_slashes = False
    app.before_request(_begin)
    app.after_request(_finish)
    failures.register(app)

    router = Router(app, services.store)
    catalogue, traffic = Catalogue(services.store, on_change=services.on_change), Traffic()
    Service(services, traffic).register(router)
    Namespaces(services).register(router)
    Actions(services, catalogue).register(router)
    Invoking(services, catalogue, traffic).register(router)
    Packages(services, catalogue).register(router)
    Activations(services).register(router)
    not_offered.register(router)
    return app


def _begin() -> Response | None:
    transactions.begin()
    if request.method == "OPTIONS":
        return empty_answer(CORS_OF_WEB if request.path.startswith(WEB) else CORS)
    if request.method == "HEAD" and request.path.startswith(BASE):
        raise UnroutableError
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge  # whoever sent it, and before anything else is looked at
    return None


def _finish(response: Response) -> Response:
    response.headers[transactions.HEADER] = transactions.current()
    return response
