"""Any course of arrivals, faults and crashes of a node, one life after the other over the same bus and database.

Invariants, once everything is up again and has come to rest:

- an activation is completed once, and has one record that says what its caller was told;
- what may not be run again is never run twice, and never completed twice. Only a crash costs it its completion, and
  only if it had been handed over by then;
- what may be run again is completed in any case, and run again for every crash at which it was open, and no other;
  unless nobody could read its action, and so that it may be run again: then it is as any other.

What a node has kept last is what its bus and its slate were seen to take. If a slate that was in use is lost with the
crash, whatever may have been on it counts as handed over, for what may not be run again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from mortals import Death, MortalBus, MortalContainers, MortalRecords, MortalSlate, Witness
from rigs import WAIT_S, WORK, Cluster, Life, completions, results

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.clients.memory_couch import Faults, MemoryRecords
from instar_controller.clients.slate import SlateFile
from instar_controller.clients.spool import Spool
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.keeper import Keeper
from instar_controller.engines.node import NodeSettings
from instar_controller.engines.reserving import ReservingSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies import offsets
from instar_controller.policies.keeping import Patience
from instar_controller.whisk.acks import CombinedMessage, ResultMessage
from instar_controller.whisk.wire_activation import WireActivation

pytestmark = pytest.mark.timeout(400)  # where the disk is slow

CODE = """
def main(args):
    ran(args["id"])
    if args["waits"]:
        gate.wait(30)
    if args["fails"]:
        raise ValueError(args["id"])
    return args
"""


AHEAD = ReservingSettings(ahead=5, quick_s=0.5, rest_s=0.005)

# Which action, whether its caller waits, what it does: it fails, or waits for the gate.
CALLS = st.tuples(
    st.sampled_from(["once", "quiet", "again", "quietagain", "once", "again", "nosuch"]),
    st.booleans(),
    st.sampled_from(["works", "fails", "waits", "works", "waits"]),
)


@dataclass(frozen=True)
class Sent:
    """An activation that a controller asked for."""

    id: str
    offset: int
    blocking: bool
    may_run_again: bool


@dataclass
class OneLife:
    """A node from its start to its end, with what it keeps its records in."""

    cluster: Cluster
    folder: Path
    witness: Witness
    death: Death = field(default_factory=Death)

    def __post_init__(self) -> None:
        self.slate_file = SlateFile(self.folder / "handed-over", WORK, boot_id=self.folder / "boot_id")
        self.slate = MortalSlate(self.slate_file, self.death, self.witness)
        self.keeper = Keeper(
            MemoryRecords(self.cluster.activations),
            Spool(self.folder / "spool"),
            SystemClock(),
            patience=Patience(interval_s=0.001, first_wait_s=0.002, longest_wait_s=0.01),
        )
        self.node = Life(
            self.cluster,
            pool=PoolSettings(memory_mb=1024),
            engine_settings=EngineSettings(threads=12, log_wait_ms=50),
            intake=IntakeSettings(
                most_unfinished=6, poll_s=0.01, retry_s=0.002, longest_retry_s=0.01, lookups=2, reserving=AHEAD
            ),
            slate=self.slate,
            bus=MortalBus(self.cluster.bus, self.death, self.witness),
            records=MortalRecords(self.keeper, self.death),
            wrap=lambda containers: MortalContainers(containers, self.death),
            answers_s=WAIT_S,
        )
        self.keeper.start()
        self.node.start()

    def crash(self) -> None:
        """From here on nothing of it has any effect; what remains of it in this process is cleared away."""
        self.death.strike()

    def bury(self) -> None:
        self.node.node._settings = NodeSettings(answers_s=0)
        self.node.close(drain_s=0)
        self.keeper.close(deadline_s=0)
        self.slate_file.close()

    def end(self) -> None:
        """Everything that was begun is finished first."""
        self.node.close(drain_s=WAIT_S)
        self.keeper.close(deadline_s=WAIT_S)
        self.slate_file.close()


class Course(RuleBasedStateMachine):
    """What can happen to a node."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.gate = threading.Event()
        self.ran: Counter[str] = Counter()
        self.counting = threading.Lock()
        self.cluster = Cluster({"ran": self.count, "gate": self.gate})
        self.sent: list[Sent] = []
        self.boots = itertools.count()
        self.lost: set[str] = set()  # handed over at a crash and not completed by then
        self.doubted: set[str] = set()  # in doubt when a slate was lost
        self.unrecorded: set[str] = set()  # without a record at a crash
        self.reopened: Counter[str] = Counter()  # how often it was open at a crash
        self.witness = Witness()
        self.life: OneLife | None = None

    def count(self, id: str) -> None:
        with self.counting:
            self.ran[id] += 1

    @initialize()
    def begin(self) -> None:
        for name, logs_mb, notes in (
            ("once", 10, {}),
            ("quiet", 0, {}),
            ("again", 10, {"at_least_once": True}),
            ("quietagain", 0, {"at_least_once": True}),
        ):
            self.cluster.put_action(name, CODE, logs_mb=logs_mb, annotations=notes)
        self.start_machine()
        self.life = self.next_life()

    @property
    def slate(self) -> Path:
        return Path(self.folder.name) / "handed-over"

    def start_machine(self) -> None:
        (Path(self.folder.name) / "boot_id").write_text(f"boot {next(self.boots)}\n")

    def next_life(self) -> OneLife:
        return OneLife(self.cluster, Path(self.folder.name), self.witness)

    @rule(calls=st.lists(CALLS, min_size=1, max_size=8))
    def invoke(self, calls: list[tuple[str, bool, str]]) -> None:
        for name, blocking, does in calls:
            offset = len(self.cluster.bus.sent(WORK))
            id = self.cluster.invoke(name, {"fails": does == "fails", "waits": does == "waits"}, blocking=blocking)
            self.sent.append(Sent(id, offset, blocking, name.endswith("again")))

    @rule(name=st.sampled_from(["once", "again"]), message=st.binary(max_size=20))
    def update_and_poison(self, name: str, message: bytes) -> None:
        self.cluster.put_action(name, CODE, annotations={"at_least_once": True} if name == "again" else {})
        self.cluster.bus.send(WORK, message)

    @rule()
    def functions_wait(self) -> None:
        self.gate.clear()

    @rule()
    def functions_go_on(self) -> None:
        self.gate.set()

    @rule(which=st.integers(0, 100))
    def kill_container(self, which: int) -> None:
        assert self.life is not None
        threads = self.life.node.containers.inner
        alive = list(threads._containers)
        if alive:
            with contextlib.suppress(KeyError):  # it has gone meanwhile
                threads.kill(alive[which % len(alive)])

    @rule(what=st.sampled_from(["bus", "actions", "records"]))
    def goes(self, what: str) -> None:
        self.part(what).go_down()

    @rule(what=st.sampled_from(["bus", "actions", "records"]))
    def comes(self, what: str) -> None:
        self.part(what).come_back()

    def part(self, what: str) -> MemoryBus | Faults:
        cluster = self.cluster
        return {"bus": cluster.bus, "actions": cluster.whisks.faults, "records": cluster.activations.faults}[what]

    @rule()
    def wait_for_answers(self) -> None:
        """Let some of it happen: what is begun is finished, unless something is in its way."""
        assert self.life is not None
        self.life.node.node.intake.wait_until_finished(0.02)

    @rule(is_full=st.booleans())
    def disk_of_the_slate(self, is_full: bool) -> None:
        assert self.life is not None
        self.life.slate.is_full = is_full

    @rule(takes_along=st.sampled_from(["nothing", "machine", "nothing", "slate", "nothing", "every line"]))
    def crash(self, takes_along: str) -> None:
        assert self.life is not None
        self.life.crash()
        self.look_at_the_dead(has_slate=takes_along == "nothing")
        self.life.bury()
        if takes_along == "machine":
            self.start_machine()
        elif takes_along == "slate":
            self.slate.unlink(missing_ok=True)
        elif takes_along == "every line" and self.slate.exists():
            os.truncate(self.slate, 20)
        self.life = self.next_life()

    @rule()
    def restart(self) -> None:
        assert self.life is not None
        self.all_is_well()
        self.life.end()
        kept = self.cluster.bus.committed(WORK, WORK).get(0)
        assert kept is None or offsets.reservation(kept.note) is None, "an end in order leaves nothing reserved"
        self.life = self.next_life()

    def look_at_the_dead(self, *, has_slate: bool) -> None:
        """What a crash may cost, by what was kept and by what was on the bus when it happened."""
        committed = self.cluster.bus._kept(WORK, WORK).get(0)
        reserved = None if committed is None else offsets.reservation(committed.note)
        position = self.witness.last if has_slate else committed
        progress = offsets.fresh(0) if position is None else offsets.resumed(position.offset, position.note)
        completed = completions(self.cluster.answers())
        for sent in self.sent:
            is_open = sent.offset >= progress.handed or sent.offset in progress.open
            if is_open and not has_slate and reserved is not None and sent.offset < reserved.end:
                self.doubted.add(sent.id)
                self.reopened[sent.id] += 1
                self.unrecorded.add(sent.id)
                if not completed[sent.id]:
                    self.lost.add(sent.id)
                continue
            if sent.offset >= progress.handed or sent.offset in progress.open:
                self.reopened[sent.id] += 1  # if it was begun, it may be run again
                continue
            self.unrecorded.add(sent.id)
            if not completed[sent.id]:
                self.lost.add(sent.id)

    def all_is_well(self) -> None:
        self.cluster.bus.come_back()
        self.cluster.whisks.faults.come_back()
        self.cluster.activations.faults.come_back()
        self.gate.set()

    def teardown(self) -> None:
        if self.life is None:
            self.folder.cleanup()
            return
        try:
            self.all_is_well()
            self.invoke([("once", True, "works")])
            last = self.sent[-1].id
            self.cluster.wait_until(lambda: completions(self.cluster.answers())[last] > 0)
            assert self.life.node.node.intake.wait_until_finished(WAIT_S)
        finally:
            self.life.end()
            self.folder.cleanup()
        self.check()

    def check(self) -> None:
        answers = self.cluster.answers()
        completed, answered, records = completions(answers), results(answers), self.cluster.records()
        for sent in self.sent:
            id = sent.id
            about = (
                sent,
                f"lost {id in self.lost}",
                f"reopened {self.reopened[id]}",
                f"doubted {id in self.doubted}",
                f"ran {self.ran[id]}",
                completed[id],
            )
            if sent.may_run_again:
                was_refused = id in self.lost and (self.ran[id] == 0 or id in self.doubted)
                assert completed[id] >= 1 or was_refused, about
                assert completed[id] <= 1 + self.reopened[id], about
                assert self.ran[id] <= 1 + self.reopened[id], about
            else:
                assert self.ran[id] <= 1, about
                assert completed[id] == 1 or (completed[id] == 0 and id in self.lost), about
            if sent.blocking:
                assert min(completed[id], 1) <= answered[id] <= 1 + self.reopened[id], about
            if completed[id] and id not in self.unrecorded:
                assert id in records, about
        assert set(completed) <= {sent.id for sent in self.sent}
        for answer in answers:
            told = answer.response if isinstance(answer, (ResultMessage, CombinedMessage)) else None
            if (
                isinstance(told, WireActivation)
                and told.activation_id in records
                and not self.reopened[told.activation_id]
            ):
                record = records[told.activation_id]
                assert record["response"]["statusCode"] == int(told.response.status)
                assert record["response"]["result"] == told.response.result


Course.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)


@pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")
class TestAnyCourse(Course.TestCase):  # type: ignore[misc,name-defined]
    """Hypothesis prints the steps that lead to a failure, and the blob that repeats them."""
