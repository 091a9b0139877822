"""Weights on their way to the node's store while a container still boots: see `ports.Weights`.

One rule: nothing here is waited for. Each start's weights are looked for and sent for by a thread of its own, since
a source may take its time; the fetcher's own threads bring them. What goes wrong is a line in the log: the container
looks for its weights, too, follows what is on its way, and says what it lacks.

Weights that lie in an action's archive come into the store when they are prepared, or else after its first start.
From then on its archive is sent without them (`lean.py`), and the delivery holds them, so that they are not evicted.
"""

from __future__ import annotations

import contextvars
import logging
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from instar import package
from instar.errors import InstarError, SourceError
from instar.weights import manifest, sources
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.pipeline import Urgency
from instar_controller.clients import lean, wanted
from instar_controller.clients.lean import Inside, Lean
from instar_controller.clients.wanted import Wanted
from instar_controller.whisk.action import Action
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.weights import Amounts

logger = logging.getLogger(__name__)

MODEL = "INSTAR_MODEL"  # in a container's environment: a package that does not lie in its archive
REMEMBERED = 128  # revisions whose packages are not looked for again, the last ones …
REMEMBERED_BYTES = 1 << 20  # … but for those that would take more than that, each
LEAN_BYTES = 64 << 20  # of all archives that are kept without their weights

Version = tuple[str, int | str]  # an action's full name and its revision, which another action's may equal


class StoreDelivery:
    """One start's weights. `close` lets go of the files, not of what is on its way."""

    def __init__(
        self, whose: str, *, lean_code: str | None = None, held: Sequence[int] = (), on_close: Callable[[], None]
    ) -> None:
        """`held` are descriptors of files that are not to go, which this owns. `on_close` is called once."""
        self._whose = whose
        self._lean_code = lean_code
        self._held = list(held)
        self._on_close = on_close
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

    def lean_code(self) -> str | None:
        return self._lean_code

    def close(self) -> None:
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            left, self._arrivals = self._arrivals, []
        if not was_closed:
            for descriptor in self._held:
                os.close(descriptor)
            self._on_close()
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
        self._remembered: OrderedDict[Version, tuple[Wanted, ...]] = OrderedDict()
        self._leans: OrderedDict[Version, Lean | None] = OrderedDict()  # None: it is sent as it is
        self._is_closed = False

    def begin(self, invocation: Invocation) -> StoreDelivery:
        is_ours = invocation.action.exec.kind in self._kinds and not self._is_closed
        code, held = self._lean(invocation) if is_ours else (None, [])
        delivery = StoreDelivery(
            invocation.action.full_name,
            lean_code=code,
            held=held,
            on_close=lambda: self._learn(invocation) if is_ours and code is None else None,
        )
        if is_ours:
            _start(self._send_for, invocation, delivery)
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

    # Archives without their weights.

    def _lean(self, invocation: Invocation) -> tuple[str | None, list[int]]:
        """The archive without its weights if the node has them, and descriptors that hold these there."""
        with self._lock:
            found = self._leans.get(version := _version(invocation.action, invocation.revision))
            if found is None:
                return None, []
            self._leans.move_to_end(version)
        held: list[int] = []
        for each in found.inside:
            descriptor = self._hold(each)
            if descriptor is None:
                for other in held:
                    os.close(other)
                return None, []
            held.append(descriptor)
        return found.code, held

    def _hold(self, inside: Inside) -> int | None:
        try:
            whole = self._fetcher.store.whole(inside.weights)
        except InstarError:  # damaged: the container says so, or mends it
            return None
        return None if whole is None else whole.descriptor

    def prepare(self, action: Action, revision: int | str, read_code: Callable[[], str]) -> None:
        """See `ports.Weights`."""
        if action.exec.kind in self._kinds and not self._is_closed and not self._is_plain(_version(action, revision)):
            self._make_lean(action, _version(action, revision), read_code())

    def _learn(self, invocation: Invocation) -> None:
        """After a start with the whole archive: have the next one do with less, if it can."""
        action, version = invocation.action, _version(invocation.action, invocation.revision)
        if action.exec.binary and not self._is_closed and not self._is_plain(version):
            _start(self._make_lean, action, version, action.exec.code)

    def _is_plain(self, version: Version) -> bool:
        """Whether it is known that its archive is sent as it is."""
        with self._lock:
            return version in self._leans and self._leans[version] is None

    def _make_lean(self, action: Action, version: Version, code: str) -> None:
        made = lean.lean(code)
        for each in () if made is None else made.inside:
            try:
                self._take_in(code, each)
            except (InstarError, OSError) as error:
                if not self._is_closed:
                    logger.warning("the weights in %s stay there: %s", action.full_name, error)
                return  # and another start tries again
        with self._lock:
            self._leans[version] = made
            while len(self._leans) > REMEMBERED or self._lean_bytes() > LEAN_BYTES:
                self._leans.popitem(last=False)

    def _lean_bytes(self) -> int:
        return sum(len(each.code) for each in self._leans.values() if each is not None)

    def _take_in(self, code: str, inside: Inside) -> None:
        """Have the store hold what lies in an archive. Raises `InstarError` or `OSError` where it cannot."""
        if (descriptor := self._hold(inside)) is not None:
            os.close(descriptor)
            return
        with tempfile.NamedTemporaryFile(prefix="instar-weights-") as file:
            if not lean.copy(code, inside, file):
                raise SourceError(f"{inside.entry} is not what its package says")
            file.flush()
            arrival = self._fetcher.begin(
                inside.weights, Path(file.name), spans=inside.spans, urgency=Urgency.PREFETCH
            )
            try:
                arrival.wait_all(Urgency.PREFETCH)
            finally:
                arrival.close()

    # Weights that lie elsewhere.

    def _of_archive(self, invocation: Invocation) -> Sequence[Wanted]:
        if not invocation.action.exec.binary:
            return ()
        version = _version(invocation.action, invocation.revision)
        with self._lock:
            known = self._remembered.get(version)
            if known is not None:
                self._remembered.move_to_end(version)
                return known
        found = wanted.of_archive(invocation.action.exec.code)
        if sum(each.nbytes for each in found) <= REMEMBERED_BYTES:
            with self._lock:
                self._remembered[version] = found
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


def _version(action: Action, revision: int | str) -> Version:
    return action.full_name, revision


def _start(work: Callable[..., None], *arguments: object) -> None:
    """Have a thread do it, whose log lines are about what this one's are."""
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work, *arguments), name="instar-weights", daemon=True).start()
