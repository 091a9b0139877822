"""Work that only one of several processes is to do: waiting for its claim, holding it, and giving it back.

One rule: who does the work asks `is_held` before each step that others will see, and stops when it is not. When a
claim may be taken is decided by `policies.claims`.

A claim spares work, and nothing else depends on it: a CouchDB of several machines may, while they do not see each
other, let two have it. So it is for work that may be done twice.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from instar_controller.clients.notes import Note, Notes
from instar_controller.engines.pauses import Pause
from instar_controller.errors import ConflictError, StoreError
from instar_controller.policies import claims
from instar_controller.policies.claims import Claim, Sight
from instar_controller.whisk.values import JsonObject

logger = logging.getLogger(__name__)

CLAIM = "claim:"
CLOSE_S = 2.0  # for a renewal that is under way


class Tenure:
    """A claim that is held, and renewed by a thread of its own until it is lost or given back."""

    def __init__(
        self, notes: Notes, id: str, body: JsonObject, revision: str, renewed_s: float, now_s: Callable[[], float]
    ) -> None:
        self._notes = notes
        self._id = id
        self._body = body
        self._term_s = _claim(body).term_s
        self._now_s = now_s
        self._revision = revision
        self._renewed_s = renewed_s
        self._is_lost = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="instar-claim", daemon=True)
        self._thread.start()

    @property
    def is_held(self) -> bool:
        """Whether nobody else may have the claim yet."""
        if self._is_lost:
            return False
        return claims.is_held(renewed_s=self._renewed_s, term_s=self._term_s, now_s=self._now_s())

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is lost; False if that took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give_back(self) -> None:
        """Let others have it at once, if they can be told."""
        self._stopped.set()
        self._thread.join(CLOSE_S)
        if not self.is_held or self._thread.is_alive():
            return
        self._is_lost = True
        try:
            self._notes.write(self._id, {**self._body, "holder": None}, replaces=self._revision)
        except (StoreError, ConflictError) as error:
            logger.info("%s is not given back, and ends in %.0f s: %s", self._id, self._term_s, error)

    def _run(self) -> None:
        while self.is_held:
            wait_s = claims.renew_in_s(renewed_s=self._renewed_s, term_s=self._term_s, now_s=self._now_s())
            if self._stopped.wait(wait_s):
                return
            if not self._renew() and self._stopped.wait(self._term_s / claims.RENEWALS / 4):
                return
        logger.warning("%s is lost: others may do its work now", self._id)

    def _renew(self) -> bool:
        begun_s = self._now_s()
        try:
            self._revision = self._notes.write(self._id, self._body, replaces=self._revision)
            self._renewed_s = begun_s
            return True
        except ConflictError:
            return self._look()
        except StoreError as error:
            logger.info("%s cannot be renewed now: %s", self._id, error)
            return False

    def _look(self) -> bool:
        """Somebody changed the claim. It may have been us, by a renewal whose answer was lost."""
        try:
            note = self._notes.read(self._id)
        except StoreError:
            return False
        if note is not None and note.body.get("holder") == self._body["holder"]:
            self._revision = note.revision
        else:
            self._is_lost = True
        return True


class Candidate:
    """Who wants a claim, time and again. For one thread. `term_s` is how long it stays whose holder has died."""

    def __init__(
        self,
        notes: Notes,
        name: str,
        *,
        owner: str,
        term_s: float = 15.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notes = notes
        self._id = CLAIM + name
        # No two lives of a process have the same, so none takes what another holds.
        self._body: JsonObject = {"type": "claim", "holder": f"{owner} {uuid.uuid4().hex}", "term_s": term_s}
        self._now_s = now_s
        self._pause = Pause(term_s / 15, term_s / 3)

    def obtain(self, stopped: threading.Event) -> Tenure | None:
        """Wait for the claim, and take it; None if `stopped` was set before."""
        sight: Sight | None = None
        while not stopped.is_set():
            try:
                note = self._notes.read(self._id)
                now_s = self._now_s()
                sight = None if note is None else claims.see(sight, _claim(note.body), note.revision, now_s=now_s)
                if claims.is_free(sight, now_s=now_s) or self._is_ours(sight):
                    return self._take(note)
                assert sight is not None
                wait_s = claims.look_again_s(sight, now_s=now_s)
                self._pause.succeeded()
            except ConflictError:  # somebody else took it just now
                continue
            except StoreError as error:
                if self._pause.failed():
                    logger.warning("%s cannot be looked at now: %s", self._id, error)
                wait_s = self._pause.left_s
            stopped.wait(wait_s)
        return None

    def _is_ours(self, sight: Sight | None) -> bool:
        """We took it, but were never told; or we held it, and could not renew it in time."""
        return sight is not None and sight.claim.holder == self._body["holder"]

    def _take(self, note: Note | None) -> Tenure:
        begun_s = self._now_s()
        revision = self._notes.write(self._id, self._body, replaces=None if note is None else note.revision)
        return Tenure(self._notes, self._id, self._body, revision, begun_s, self._now_s)


def _claim(body: JsonObject) -> Claim:
    holder, term_s = body.get("holder"), body.get("term_s")
    if isinstance(holder, str) and isinstance(term_s, int | float) and term_s > 0:
        return Claim(holder, float(term_s))
    return Claim(None, 0.0)  # nobody's, or damaged
