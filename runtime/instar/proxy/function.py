"""The one function of this container: what state it is in, and what `/init`, `/run` and `/transform` do to it.

The rule: every request is answered from the state it finds, and the log sentinels are written before its answer
leaves. A run takes one of the worker's slots, of which there is one unless the container allows concurrency;
further runs wait. The states; the first two columns after the stock runtime:

    state     /init                            /run                                  /transform
    -------   ------------------------------   -----------------------------------   ----------------------------
    Empty     200: Live. Failed: stays Empty   500 no action defined yet             409 use /init
    Live      403 more than once               200, 400 or 502. The worker died in   200: Live, as the new function.
                                               it: 400, Gone, and so for every run   409: as it was. 502: Gone
                                               under way
                                               The worker had died before: 500
                                               command exited, Gone
    Gone      403 more than once               500 no action defined yet             409 remove it

While it becomes another function, a run waits until it is known whether the old one stays, whose it is; from then on
there is no function to run until the new one lives.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
import time
from dataclasses import dataclass

from instar.action.frames import (
    EXITED_EARLY,
    NOT_BUILT,
    NOT_STARTED,
    Finished,
    Message,
    NotStarted,
    Refused,
    Run,
    Started,
)
from instar.errors import InstarError, ProcessError, ProtocolError
from instar.executor.meter import NOTHING, Reading
from instar.executor.proposals import Outcome, Proposal
from instar.proxy import candidate, sentinels
from instar.proxy.candidate import Candidate
from instar.proxy.laps import Laps
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Place, Places
from instar.proxy.requests import BadRequest, Init, Owner, Transform, parse_init, parse_transform
from instar.proxy.talks import NotAgreed, Talks
from instar.proxy.zygote import Worker, Zygote

NO_ACTION = "no action defined yet"
ONCE = "Cannot initialize the action more than once."
EXITED = "command exited"
NOTHING_TO_TRANSFORM = "no function lives in this container: send an empty one /init, and remove any other"
RUNNING = "a run is under way, so the function stays what it is: decide again without this container"
ENDING = "this container is about to end"
ANOTHER_OWNER = "the function before was another owner's"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; the body is JSON and ends in a newline."""

    status: int
    body: bytes
    weights: Reading = NOTHING  # what loading has cost since the run before


def failure(status: int, text: str) -> Reply:
    return Reply(
        status,
        json.dumps({"error": text}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n",
    )


class Empty:
    """No function yet."""


@dataclass(frozen=True, slots=True)
class Live:
    """A function that can be called."""

    worker: Worker
    place: Place
    owner: Owner | None


class Gone:
    """The function's process died; OpenWhisk removes such a container."""


class Function:
    """Owns the state, the worker and the function's files. Any thread may call it."""

    def __init__(self, zygote: Zygote, places: Places, *, limits: BodyLimits, slots: int = 1) -> None:
        self._zygote = zygote
        self._places = places
        self._limits = limits
        self._slots = slots  # runs at once
        self._state: Empty | Live | Gone = Empty()
        self._numbers = itertools.count(1)  # of functions
        self._turn = threading.Lock()  # whose it is may change the state and speak to the zygote
        self._told = zygote.meter.read()  # in the answers to runs
        self._telling = threading.Lock()

    def ready(self) -> Reply:
        """Answers when `/init` would not have to wait for the boot any more."""
        with self._turn:
            if isinstance(self._state, Empty):
                self._zygote.wait_until_up()
        return Reply(200, b'{"ok":true}\n')

    def init(self, body: bytes) -> Reply:
        with self._turn:
            if not isinstance(self._state, Empty):
                sentinels.complain(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {ONCE}")
                return failure(403, ONCE)
            try:
                init = parse_init(body)
            except BadRequest as refusal:
                return failure(refusal.status, refusal.text)
            error = self._become(init)
            if error is None:
                return Reply(200, b'{"ok":true}\n')
            sentinels.write()
            return failure(502, error)

    def run(self, body: bytes) -> Reply:
        # Without the turn: while one function becomes another, a run belongs to the one that it found, or to none.
        found = self._state
        if isinstance(found, Empty):
            with self._turn:  # an /init may be under way
                found = self._state
        if not isinstance(found, Live):
            return failure(500, NO_ACTION)
        with found.worker.slots.one() as channel:
            if channel is None:  # the worker died, or the function became another one, while this waited
                return failure(500, NO_ACTION)
            if not channel.is_quiet():
                self._lose(found)
                return failure(500, EXITED)
            try:
                reply = _reply(channel.ask(Run(body)))
            except (ProcessError, ProtocolError):
                self._lose(found)
                reply = failure(400, EXITED)
            reply = dataclasses.replace(reply, weights=self._untold())
            sentinels.write()  # before the next run may begin
            return reply

    def transform(self, body: bytes) -> Reply:
        with self._turn:
            old = self._state
            if not isinstance(old, Live):
                return failure(409, NOTHING_TO_TRANSFORM)
            if not old.worker.slots.claim():
                return failure(409, RUNNING)
            try:
                return self._transform(old, body)
            except ProcessError:  # of the zygote, on which everything here depends
                return failure(503, ENDING)
            finally:
                if self._state is old:
                    old.worker.slots.release()

    def _transform(self, old: Live, body: bytes) -> Reply:
        """Become another function, or leave everything as it was."""
        laps = Laps()
        try:
            asked = parse_transform(body)
            new = candidate.build(asked.init, self._next_place(), self._places, self._limits)
        except (BadRequest, InstarError, OSError) as reason:
            return failure(409, str(reason))
        laps.end("unpack")
        is_same_owner = new.owner is not None and new.owner == old.owner
        plan = asked.plan if is_same_owner else None
        with Talks(self._zygote, Proposal(new.fork.models, new.fork.store, new.fork.own, plan)) as talks:
            try:
                talks.agree()
            except NotAgreed as reason:
                new.place.remove()
                return failure(409, str(reason))
            laps.end("agree")
            if is_same_owner:
                outcome = self._leave(old, talks, laps)
            else:
                outcome = self._leave_nothing(old, laps)
        return self._succeed(old, new, asked, outcome, laps)

    def _leave(self, old: Live, talks: Talks, laps: Laps) -> Outcome:
        """End the old function, while the executor makes of its models what was agreed on."""
        self._state = Gone()
        self._zygote.supersede(old.worker)
        laps.end("bury")
        outcome = talks.outcome()
        laps.end("await")
        laps.add("transform", outcome.transform_ns)
        return outcome

    def _leave_nothing(self, old: Live, laps: Laps) -> Outcome:
        """End the old function and the executor that held its models."""
        self._state = Gone()
        self._zygote.renew(old.worker)
        laps.end("bury")
        return Outcome(None, ANOTHER_OWNER, 0)

    def _succeed(self, old: Live, new: Candidate, asked: Transform, outcome: Outcome, laps: Laps) -> Reply:
        """Start the new function, where nothing of the old one is left but its files."""
        self._told = self._zygote.meter.read()  # what the old one's models have cost is not the new one's to tell
        sentinels.mark(asked.mark)
        clearing = threading.Thread(target=old.place.remove, name="clearing")
        clearing.start()
        error = self._start(new, laps)
        clearing.join()
        laps.end("clear")
        if error is not None:
            new.place.remove()
            sentinels.write()
            return failure(502, error)
        told = {"how": "loaded" if outcome.model is None else "transformed", "model": outcome.model, "ms": laps.ms()}
        if asked.plan is not None and outcome.model is None:
            told["why"] = outcome.failure
        return Reply(200, json.dumps({"ok": True, "instar": told}, separators=(",", ":")).encode() + b"\n")

    def _untold(self) -> Reading:
        """What no run was told of yet. Of runs at the same time, the first to end is told."""
        with self._telling:
            now = self._zygote.meter.read()
            changed, self._told = now - self._told, now
            return changed

    def _become(self, init: Init) -> str | None:
        """Unpack, fork, import. Returns what to tell the caller of a failure; why, stands on standard error."""
        error: str | None = NOT_BUILT
        place = self._next_place()
        try:
            error = self._start(candidate.build(init, place, self._places, self._limits), Laps())
        except (InstarError, OSError) as reason:
            sentinels.complain(f"{reason}\n")
        if error is not None:
            place.remove()
        return error

    def _next_place(self) -> Place:
        return self._places.function(next(self._numbers))

    def _start(self, new: Candidate, laps: Laps) -> str | None:
        """Fork and import; then it is live. Returns what to tell the caller of a failure."""
        new.place.open()
        worker = self._zygote.fork(new.fork, slots=self._slots, answer_bytes=self._limits.run_bytes)
        laps.end("fork")
        error = NOT_STARTED
        with worker.slots.one() as channel:
            assert channel is not None  # nobody else knows of them yet
            try:
                match channel.ask(new.start):
                    case Started():
                        laps.end("start")
                        self._state = Live(worker, new.place, new.owner)
                        return None
                    case NotStarted(reason):
                        error = reason
                    case other:
                        raise ProtocolError(f"a worker answered its start with {type(other).__name__}")
            except (ProcessError, ProtocolError):
                sentinels.complain(EXITED_EARLY)
            self._zygote.bury(worker)
        return error

    def _lose(self, found: Live) -> None:
        """The first run that notices ends what is left of the worker; so all others notice, too."""
        with self._turn:
            if self._state is found:
                self._state = Gone()
                self._zygote.bury(found.worker)


def _reply(answer: Message) -> Reply:
    match answer:
        case Finished(result):
            return Reply(200, result)
        case Refused(status, error):
            return failure(status, error)
    raise ProtocolError(f"a worker answered a run with {type(answer).__name__}")
