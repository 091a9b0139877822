"""What an activation message comes to: an invocation that can be carried out, or the reason why there is none.

One rule: every message that could be parsed comes to something. What is known already is told at once and without
waiting (`look`); for what is not, somebody has to wait for the database (`prepare`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from instar_controller.engines.blacklist import Blacklist
from instar_controller.engines.fetching import Actions, Fetched, Unfetched
from instar_controller.errors import MalformedError, RefusedError
from instar_controller.ports import Clock
from instar_controller.whisk import limits as action_limits
from instar_controller.whisk import locked, parameters
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import Bounds, Limits
from instar_controller.whisk.locked import Keys
from instar_controller.whisk.response import ERROR, Response, Status
from instar_controller.whisk.store_level import StoreLevel, StoreLevels

logger = logging.getLogger(__name__)

AT_LEAST_ONCE = "at_least_once"  # annotation: it may be run again after a crash
ANY_NUMBER = Bounds(1, 1, sys.maxsize)  # of calls at once that an action allows in a container: it gets one
BLOCKED = "The action was not invoked due to a blacklisted namespace."
NOT_UNDERSTOOD = "The action's parameters could not be understood."


@dataclass(frozen=True, slots=True)
class Runnable:
    """It can be run; again after a crash, if its action says so."""

    invocation: Invocation

    @property
    def may_run_again(self) -> bool:
        return parameters.is_true(self.invocation.action.annotations, AT_LEAST_ONCE)


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not run, and this is its answer, of which a record is kept if the level takes it."""

    response: Response
    store_level: StoreLevel


@dataclass(frozen=True, slots=True)
class Blocked:
    """It is not run, for its namespace may run nothing; no record is kept."""

    @property
    def response(self) -> Response:
        return Response(Status.APPLICATION_ERROR, {ERROR: BLOCKED})


@dataclass(frozen=True, slots=True)
class Recognised:
    """It is a controller's health test for a kind of which we have no image: that it came is all that it is about."""


Prepared = Runnable | Refused | Blocked | Recognised
P = TypeVar("P", bound=Prepared | None)


class Preparation:
    """Looks everything up that a message refers to. Safe for several threads; nothing here raises."""

    def __init__(
        self,
        actions: Actions,
        blacklist: Blacklist,
        clock: Clock,
        *,
        limits: Limits,
        keys: Keys,
        runs_health_tests: bool,
        store_levels: StoreLevels | None = None,
    ) -> None:
        """`runs_health_tests`: whether there is an image for the kind of the controllers' health tests.
        `store_levels`: of which activations there are records; None: of all."""
        self._actions = actions
        self._blacklist = blacklist
        self._clock = clock
        self._limits = limits
        self._keys = keys
        self._runs_health_tests = runs_health_tests
        self._store_levels = store_levels or StoreLevels()

    def look(self, message: ActivationMessage) -> Prepared | None:
        """What it comes to, if that can be told without waiting."""
        return self._safely(self._look, message)

    def prepare(self, message: ActivationMessage) -> Prepared:
        """What it comes to."""
        return self._safely(self._prepare, message)

    def _safely(self, step: Callable[[ActivationMessage], P], message: ActivationMessage) -> P | Refused:
        try:
            return step(message)
        except Exception:  # a mistake of ours must not cost anybody the answer
            logger.exception("activation %s cannot be prepared", message)
            return self._refused(message, Response(Status.WHISK_ERROR, {ERROR: NOT_UNDERSTOOD}))

    def _look(self, message: ActivationMessage) -> Prepared | None:
        if self._is_recognised(message):
            return Recognised()
        is_blocked = self._blacklist.known(message.user.namespace)
        if is_blocked is None:
            return None
        if is_blocked:
            return Blocked()
        fetched = self._actions.known(message.action.full_name, message.revision)
        return None if fetched is None else self._checked(message, fetched)

    def _prepare(self, message: ActivationMessage) -> Prepared:
        if self._is_recognised(message):
            return Recognised()
        if self._blacklist.look_up(message.user.namespace):
            return Blocked()
        match self._actions.fetch(message.action.full_name, message.revision):
            case Unfetched(response):
                return self._refused(message, response)
            case Fetched() as fetched:
                return self._checked(message, fetched)

    def _is_recognised(self, message: ActivationMessage) -> bool:
        return message.action.is_health_test and not self._runs_health_tests

    def _checked(self, message: ActivationMessage, fetched: Fetched) -> Prepared:
        try:
            bounds = replace(message.user.bounds(self._limits), concurrency=ANY_NUMBER)
            action_limits.check(fetched.action.limits, bounds)
        except RefusedError as error:
            reason = str(error).removeprefix("requirement failed: ")
            return self._refused(message, Response(Status.APPLICATION_ERROR, {ERROR: reason}))
        try:
            return Runnable(self._invocation(message, fetched))
        except MalformedError as error:
            logger.error("activation %s: %s", message, error)
            return self._refused(message, Response(Status.WHISK_ERROR, {ERROR: NOT_UNDERSTOOD}))

    def _invocation(self, message: ActivationMessage, fetched: Fetched) -> Invocation:
        """Raises `MalformedError` if parameters are locked with a key that we do not have."""
        content, environment = locked.merged(message, self._keys)
        return Invocation(
            activation_id=message.activation_id,
            transaction_id=message.transid.id,
            action=fetched.action,
            revision=fetched.revision,
            namespace=message.user.namespace,
            subject=message.user.subject,
            api_key=message.user.api_key or "",
            content=content,
            environment=environment,
            received_ms=message.transid.started_ms(self._clock.now_ms()),
            blocking=message.blocking,
            binding=message.action.binding,
            store_level=self._store_level(message),
            extra_logging=message.transid.extra_logging,
            cause=message.cause,
        )

    def _refused(self, message: ActivationMessage, response: Response) -> Refused:
        return Refused(response, self._store_level(message))

    def _store_level(self, message: ActivationMessage) -> StoreLevel:
        return self._store_levels.chosen(
            wants_records=message.user.stores_activations,
            extra_logging=message.transid.extra_logging,
            blocking=message.blocking,
        )
