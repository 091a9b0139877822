"""Weights on their way to the node's store while a container still boots: see `ports.Weights`.

One rule: nothing here is waited for. Each start's weights are looked for and sent for by a thread of its own, since
a source may take its time; the fetcher's own threads bring them. What goes wrong is a line in the log: the container
looks for its weights, too, follows what is on its way, and says what it lacks.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from instar import package
from instar.errors import InstarError
from instar.weights import manifest, sources
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar_controller.clients import wanted
from instar_controller.clients.wanted import Wanted
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.weights import Amounts

logger = logging.getLogger(__name__)

MODEL = "INSTAR_MODEL"  # in a container's environment: a package that does not lie in its archive
REMEMBERED = 128  # revisions whose packages are not looked for again, the last ones …
REMEMBERED_BYTES = 1 << 20  # … but for those that would take more than that, each


class StoreDelivery:
    """One start's weights. `close` lets go of the files, not of what is on its way."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._lock = threading.Lock()
        self._arrivals: list[Arrival] = []
        self._is_closed = False

    def add(self, arrival: Arrival) -> None:
        with self._lock:
            if not self._is_closed:
                self._arrivals.append(arrival)
                return
        arrival.close()

    def amounts(self) -> Amounts | None:
        with self._lock:
            if not self._arrivals:
                return None
            return Amounts(  # what was copied from another model's file was on the node, too
                sum(arrival.present_bytes + arrival.reused_bytes for arrival in self._arrivals),
                sum(arrival.fetched_bytes for arrival in self._arrivals),
            )

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            left, self._arrivals = self._arrivals, []
        for arrival in left:
            if arrival.error is not None:
                logger.warning("weights of %s do not arrive: %s", self._whose, arrival.error)
            arrival.close()


class StoreWeights:
    """Has weights brought to the store of `fetcher`, which it owns, for actions of these `kinds`.

    `environment` is what their containers start with, `credentials` the node's own environment.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        kinds: Collection[str],
        environment: Mapping[str, str],
        credentials: Mapping[str, str],
    ) -> None:
        self._fetcher = fetcher
        self._kinds = frozenset(kinds)
        self._environment = dict(environment)
        self._credentials = dict(credentials)
        self._lock = threading.Lock()  # for what follows
        self._remembered: OrderedDict[int | str, tuple[Wanted, ...]] = OrderedDict()
        self._is_closed = False

    def begin(self, invocation: Invocation) -> StoreDelivery:
        delivery = StoreDelivery(invocation.action.full_name)
        if invocation.action.exec.kind in self._kinds and not self._is_closed:
            work = threading.Thread(
                target=self._send_for, args=(invocation, delivery), name="instar-weights", daemon=True
            )
            work.start()
        return delivery

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self._fetcher.close()

    def _send_for(self, invocation: Invocation, delivery: StoreDelivery) -> None:
        self._begin(self._of_archive(invocation), invocation, delivery)
        environment = {**self._environment, **invocation.environment}
        if location := environment.get(MODEL, "").rstrip("/"):
            self._begin(self._of_url(location, invocation), invocation, delivery)

    def _begin(self, found: Sequence[Wanted], invocation: Invocation, delivery: StoreDelivery) -> None:
        for each in found:
            if self._is_closed:
                return
            try:
                delivery.add(self._fetcher.begin(each.weights, each.location, spans=each.spans))
            except InstarError as error:
                logger.warning("weights of %s cannot be sent for: %s", invocation.action.full_name, error)

    def _of_archive(self, invocation: Invocation) -> Sequence[Wanted]:
        if not invocation.action.exec.binary:
            return ()
        with self._lock:
            known = self._remembered.get(invocation.revision)
            if known is not None:
                self._remembered.move_to_end(invocation.revision)
                return known
        found = wanted.of_archive(invocation.action.exec.code)
        if sum(each.nbytes for each in found) <= REMEMBERED_BYTES:
            with self._lock:
                self._remembered[invocation.revision] = found
                while len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
        return found

    def _of_url(self, location: str, invocation: Invocation) -> Sequence[Wanted]:
        """What the package at a URL asks for. It is not remembered: what lies there may change."""
        scheme, is_url, _ = location.partition("://")
        if not is_url or scheme == "file":  # a path is the container's own
            return ()
        try:
            head = sources.read(
                f"{location}/{package.MODEL_FILE}", limit_bytes=package.MAX_JSON_BYTES, environ=self._credentials
            )
        except InstarError as error:
            logger.warning("the model package of %s cannot be read: %s", invocation.action.full_name, error)
            return ()
        found = wanted.of_head(head[: wanted.MAX_HEAD_BYTES], otherwise=f"{location}/{manifest.WEIGHTS_FILE}")
        return () if found is None else (found,)
