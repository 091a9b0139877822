"""Whether a program can work: what it depends on is asked by threads of its own, and nobody waits for an answer.

One rule: the probe, the metric and the appetite for work go by the same answers, the last ones. A program whose
containers nobody can make asks for no work: its pool would look empty and its answers quick, and it would draw all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from instar_controller.cluster_ports import Bus
from instar_controller.errors import ControllerError
from instar_controller.operations import Switch
from instar_controller.policies import readiness
from instar_controller.policies.readiness import Appetite

logger = logging.getLogger(__name__)

CLOSE_S = 1.0  # for a question that is being asked; nobody needs its answer any more


class Asker:
    """Asks one thing outside, again and again, whether it is there. `start` it, `close` it once."""

    def __init__(
        self,
        what: str,
        ask: Callable[[], None],
        *,
        every_s: float,
        on_answer: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`ask` returns if all is well, and raises a `ControllerError` that says what is not. `on_answer` is told of
        each answer, by the thread that asked."""
        self.what = what
        self.trouble: str | None = f"the {what} was not asked yet"
        self._ask = ask
        self._every_s = every_s
        self._on_answer = on_answer
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"instar-asks-{what}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more. Something outside that does not answer holds nobody up."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._is_over.is_set():
            self.trouble = self._answer()
            try:
                self._on_answer(self.trouble)
            except Exception:  # a mistake of ours must not make it look for ever as it was
                logger.exception("the answer of the %s is lost on us", self.what)
            self._is_over.wait(self._every_s)

    def _answer(self) -> str | None:
        try:
            self._ask()
        except ControllerError as error:
            return str(error)
        except Exception as error:  # a mistake of ours must not make it look healthy for ever
            if not self._is_over.is_set():
                logger.exception("the %s cannot be asked", self.what)
            return f"the {self.what} cannot be asked: {error!r}"
        return None


class Health:
    """Whether work can be done, as a probe asks: it never waits. It owns the `askers`, who are started with it."""

    def __init__(self, bus: Bus, *askers: Asker) -> None:
        self._bus = bus
        self._lock = threading.Lock()  # for the list
        self._askers = list(askers)
        self._phase: str | None = "it is starting"

    def start(self) -> None:
        for asker in self._askers:
            asker.start()

    def watch(self, asker: Asker) -> None:
        """One thing more, that was found out about later."""
        with self._lock:
            self._askers.append(asker)
        asker.start()

    def close(self) -> None:
        for asker in self._all():
            asker.close()

    @property
    def is_working(self) -> bool:
        """Whether the program has begun its work, and not begun to end it."""
        return self._phase is None

    def begin(self) -> None:
        """From here on it works."""
        self._phase = None

    def end(self) -> None:
        """From here on it takes nothing on."""
        self._phase = "it is ending"

    def obstacles(self) -> Sequence[str]:
        """Why no work can be done; empty while it can."""
        return readiness.obstacles(self._phase, self._troubles())

    def answers(self) -> Mapping[str, float]:
        """Who of them answers, as numbers."""
        return {what: float(trouble is None) for what, trouble in self._troubles().items()}

    def _troubles(self) -> Mapping[str, str | None]:
        bus = None if self._bus.is_up() else "the bus does not answer"
        return {"bus": bus, **{asker.what: asker.trouble for asker in self._all()}}

    def _all(self) -> Sequence[Asker]:
        with self._lock:
            return list(self._askers)


class Gate:
    """Turns a program's own switch: on while an operator wants that and containers can be made. A `Switch` itself,
    the operator's. Told of each answer of the maker of containers, which is there at first."""

    def __init__(self, switch: Switch, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._switch = switch
        self._now_s = now_s
        self._changed = threading.Condition()  # guards what follows, and is held while the switch is turned
        self._is_wanted = True
        self._away_since_s: float | None = None
        self._is_closed = False
        self._is_held = False  # somebody waits to read

    @property
    def is_held(self) -> bool:
        """Whether nothing is read although there is a reader: what was sent waits where it is safe."""
        return self._is_held

    @property
    def is_enabled(self) -> bool:
        """Whether the operator lets it have work."""
        return self._is_wanted

    def enable(self) -> None:
        """Take work, if any can be done."""
        with self._changed:
            self._is_wanted = True
            self._turn()

    def disable(self) -> None:
        """Take no more work, and go on with what is there."""
        with self._changed:
            self._is_wanted = False
            self._turn()

    def hear(self, trouble: str | None) -> None:
        """What the maker of containers answers: that all is well, or what is not."""
        with self._changed:
            was_away = self._away_since_s is not None
            if trouble is None:
                self._away_since_s = None
            elif self._away_since_s is None:
                self._away_since_s = self._now_s()
            if was_away != (trouble is not None):
                if trouble is None:
                    logger.warning("containers can be made again, and work is asked for if it is wanted")
                else:
                    logger.error("no work is asked for while no container can be made: %s", trouble)
                self._turn()
            self._changed.notify_all()

    def wait_until_reading(self, timeout_s: float) -> bool:
        """Whether what was sent may be read; waits a while if it may not."""
        with self._changed:
            self._is_held = not self._appetite().reads
            if self._is_held:
                self._changed.wait_for(lambda: self._appetite().reads or self._is_closed, timeout_s)
            return self._appetite().reads

    def close(self) -> None:
        """Turn nothing any more: from here on others do."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _appetite(self) -> Appetite:
        away_s = None if self._away_since_s is None else self._now_s() - self._away_since_s
        return readiness.appetite(is_wanted=self._is_wanted, away_s=away_s)

    def _turn(self) -> None:
        if self._is_closed:
            return
        if self._appetite().asks:
            self._switch.enable()
        else:
            self._switch.disable()
