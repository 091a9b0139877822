"""How messages are read: each is handed over once, none before it is committed, no more than there is room for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mortals import Death, MortalBus, Witness
from rigs import ANSWERS, WAIT_S, WORK, Cluster, Life, completions, kinds_of, new_id

from instar_controller.clients.slate import SlateFile
from instar_controller.cluster_ports import Bus, From, Message, Position, Subscription
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.reserving import ReservingSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Reservation
from instar_controller.whisk.acks import CombinedMessage

BLOCKING = "def main(args):\n    reached.set()\n    gate.wait(60)\n    return args\n"
QUICK = IntakeSettings(poll_s=0.02, retry_s=0.005, longest_retry_s=0.02)


def event(cluster: Cluster, name: str) -> threading.Event:
    found = cluster.world[name]
    assert isinstance(found, threading.Event)
    return found


class WatchedBus(MortalBus):
    """A bus whose commits wait for a test."""

    def __init__(self, inner: Bus) -> None:
        super().__init__(inner, Death())
        self.committing = threading.Event()
        self.may_commit = threading.Event()

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        return WatchedSubscription(super().subscribe(topic, group, begin=begin), self)


class WatchedSubscription:
    def __init__(self, inner: Subscription, bus: WatchedBus) -> None:
        self._inner = inner
        self._bus = bus

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        return self._inner.poll(timeout_s=timeout_s, most=most)

    def commit(self, positions: Mapping[int, Position]) -> None:
        self._bus.committing.set()
        assert self._bus.may_commit.wait(WAIT_S)
        self._inner.commit(positions)

    def positions(self) -> Mapping[int, Position]:
        return self._inner.positions()

    def ends(self) -> Mapping[int, int]:
        return self._inner.ends()

    def close(self) -> None:
        self._inner.close()


def test_nothing_is_begun_before_it_is_committed(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    bus = WatchedBus(cluster.bus)
    node = make_node(bus=bus)
    cluster.put_action()
    cluster.send()
    assert bus.committing.wait(WAIT_S)
    assert node.containers.asked.empty()
    assert node.engine.containers() == ()
    bus.may_commit.set()
    node.written.wait_for(1)
    assert cluster.bus.committed(WORK, WORK) == {0: Position(1)}


def test_a_commit_that_fails_is_tried_again_and_nothing_is_begun_before(
    cluster: Cluster, make_node: Callable[..., Life]
) -> None:
    node = make_node(intake=QUICK)
    cluster.put_action()
    cluster.send()
    node.written.wait_for(1)
    with cluster.whisks.faults.held():  # the next one is read, and being looked up
        cluster.put_action("g")
        cluster.send("g")
        cluster.whisks.faults.wait_for_calls(2)
        cluster.bus.go_down()
    assert not node.node.intake.wait_until_finished(0.05)
    assert len(node.engine.containers()) == 1
    cluster.bus.come_back()
    assert len(node.written.wait_for(2)) == 2


@pytest.mark.parametrize(
    "message", [b"", b"no JSON", b"[]", b"{}", b'{"transid":["a",1]}', b"\xff\xfe", b"[" * 100_000]
)
def test_what_nobody_understands_is_passed_over(
    cluster: Cluster, node: Life, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.bus.send(WORK, message)
    cluster.put_action()
    id = cluster.send()
    assert [record.activation_id for record in node.written.wait_for(1)] == [id]
    node.close()
    assert cluster.bus.committed(WORK, WORK) == {0: Position(2)}
    assert node.observer.counts["read unparsable"] == 1
    assert "offset 0" in caplog.text and "is passed over" in caplog.text


def test_a_message_that_comes_twice_is_carried_out_once(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    id = new_id()
    for _ in range(2):
        cluster.send(activationId=id, content={"n": 1})
    node.written.wait_for(1)
    cluster.send(activationId=id, content={"n": 1})
    node.observer.wait_for("read duplicate", 2)
    node.close()
    assert completions(cluster.answers()) == {id: 1}
    assert kinds_of(cluster.answers(), id) == ["ResultMessage", "CompletionMessage"]


def test_no_more_is_read_than_may_be_unfinished(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(intake=replace(QUICK, most_unfinished=3), pool=PoolSettings(memory_mb=512))
    cluster.put_action(code=BLOCKING)
    ids = [cluster.send() for _ in range(8)]
    node.observer.wait_for("read run", 3)
    assert not node.node.intake.wait_until_finished(0.1)
    assert node.node.intake.unfinished == 3
    assert cluster.bus.committed(WORK, WORK) == {0: Position(3)}
    event(cluster, "gate").set()
    assert {record.activation_id for record in node.written.wait_for(8)} == set(ids)
    assert node.observer.counts["read run"] == 8


def test_nothing_is_read_while_records_pile_up(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    cluster.put_action()
    cluster.bus.go_down()  # so that nothing is read before there is no room
    node = make_node(intake=QUICK)
    node.written.fill(is_full=True)
    cluster.bus.come_back()
    cluster.send()
    assert node.written.has_been_asked.wait(WAIT_S)
    assert cluster.bus.committed(WORK, WORK) == {}
    node.written.fill(is_full=False)
    node.written.wait_for(1)


def test_work_that_may_not_be_run_again_is_not(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    cluster.put_action(code=BLOCKING)
    death = Death()
    first = make_node(bus=MortalBus(cluster.bus, death), answers_s=0.05)
    cluster.send()
    assert event(cluster, "reached").wait(WAIT_S)
    death.strike()
    second = make_node()
    after = cluster.send(content={"n": 2})
    event(cluster, "gate").set()
    assert [record.activation_id for record in second.written.wait_for(1)] == [after]
    assert second.observer.counts["read run"] == 1
    assert set(completions(cluster.answers())) == {after}
    first.close(drain_s=0)


def test_work_that_may_be_run_again_is_and_nothing_else(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    cluster.put_action("again", BLOCKING, annotations={"at_least_once": True})
    cluster.put_action("once")
    death = Death()
    first = make_node(bus=MortalBus(cluster.bus, death), answers_s=0.05)
    before = cluster.send("once")
    first.written.wait_for(1)
    again = cluster.send("again")
    assert event(cluster, "reached").wait(WAIT_S)
    meanwhile = cluster.send("once")
    first.written.wait_for(2)
    assert cluster.bus.committed(WORK, WORK) == {0: Position(1, '{"handed":3,"open":[0]}')}
    death.strike()
    event(cluster, "gate").set()
    second = make_node()
    assert [record.activation_id for record in second.written.wait_for(1)] == [again]
    second.close()
    assert second.observer.counts["read run"] == 1
    assert cluster.bus.committed(WORK, WORK) == {0: Position(3)}
    assert completions(cluster.answers()) == {before: 1, again: 1, meanwhile: 1}
    first.close(drain_s=0)


def test_what_is_in_doubt_is_begun_only_if_it_may_be_run_again(
    cluster: Cluster, make_node: Callable[..., Life], caplog: pytest.LogCaptureFixture
) -> None:
    for name, notes in (("once", {}), ("again", {"at_least_once": True})):
        cluster.put_action(name, annotations=notes)
    once = [cluster.send("once"), cluster.send("once")]
    nobody = cluster.send("nosuch")
    again = cluster.send("again")
    reader = cluster.bus.subscribe(WORK, WORK, begin=From.EARLIEST)
    lost = Reservation(64, "a life that is over", 1)
    reader.commit({0: Position(*offsets.committed(offsets.fresh(0), lost))})
    node = make_node()
    (record,) = node.written.wait_for(1)
    node.observer.wait_for("read in doubt", 3)
    after = cluster.send("once")  # nobody can have begun this one
    assert [each.activation_id for each in node.written.wait_for(2)] == [again, after]
    assert record.activation_id == again
    node.close()
    assert set(completions(cluster.answers())) == {again, after}
    assert all(f"activation {id}" in caplog.text for id in (*once, nobody))
    assert cluster.bus.committed(WORK, WORK) == {0: Position(5)}


class Awaited(Witness):
    """Has a test wait until a position is committed."""

    def __init__(self, position: Position) -> None:
        super().__init__()
        self._position = position
        self.is_there = threading.Event()

    def see(self, positions: Mapping[int, Position]) -> None:
        if positions == {0: self._position}:
            self.is_there.set()


@pytest.mark.parametrize("ends", ["in order", "killed"])
def test_a_node_that_ends_or_idles_has_nothing_reserved(
    cluster: Cluster, make_node: Callable[..., Life], tmp_path: Path, ends: str
) -> None:
    """So a stock invoker may take its place."""
    reserving = ReservingSettings(quick_s=1000.0)  # whatever comes, comes quickly
    slate = SlateFile(tmp_path / "handed-over", WORK)
    death = Death()
    bus = MortalBus(cluster.bus, death)
    node = make_node(slate=slate, bus=bus, intake=replace(QUICK, reserving=reserving), answers_s=0.05)
    cluster.put_action()
    for count in range(1, 5):
        cluster.send(content={"n": count})
        node.written.wait_for(count)
    assert offsets.reservation(cluster.bus.committed(WORK, WORK)[0].note) is not None
    if ends == "killed":
        death.strike()
    node.close(drain_s=WAIT_S if ends == "in order" else 0.0)
    if ends == "killed":
        assert offsets.reservation(cluster.bus.committed(WORK, WORK)[0].note) is not None
        witness = Awaited(Position(4))
        make_node(slate=slate, bus=MortalBus(cluster.bus, Death(), witness))
        assert witness.is_there.wait(WAIT_S)
    assert cluster.bus.committed(WORK, WORK) == {0: Position(4)}
    slate.close()


def test_a_bus_that_is_not_there_at_first_is_waited_for(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    cluster.bus.go_down()
    node = make_node(intake=QUICK)
    cluster.put_action()
    cluster.bus.come_back()
    cluster.send()
    node.written.wait_for(1)


def test_a_blocked_namespace_runs_nothing_and_leaves_no_record(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.subjects.block("guest")
    id = cluster.send()
    (ack,) = cluster.wait_for_answers(1)
    assert isinstance(ack, CombinedMessage)
    assert (ack.response, ack.is_system_error) == (id, False)
    node.observer.wait_for("read blocked", 1)
    node.close()
    assert cluster.records() == {}
    assert node.containers.asked.empty()


def test_who_is_blocked_is_looked_up_again(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.send()
    node.written.wait_for(1)
    cluster.subjects.block("guest")
    cluster.send()
    node.written.wait_for(2)
    node.blacklist.refresh()
    cluster.send()
    node.observer.wait_for("read blocked", 1)


def test_a_database_that_cannot_say_who_is_blocked_blocks_nobody(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.subjects.database.faults.go_down()
    cluster.send()
    node.written.wait_for(1)


def test_a_health_test_without_an_image_is_answered_at_once(cluster: Cluster, node: Life) -> None:
    id = new_id()
    transid = ["sid_invokerHealth", 1795314618522]
    cluster.send(
        activationId=id,
        transid=transid,
        action={"path": "whisk.system", "name": "invokerHealthTestAction0", "version": "0.0.1"},
        blocking=False,
    )
    (ack,) = cluster.wait_for_answers(1)
    assert (ack.activation_id, ack.transid.to_json()) == (id, transid)
    assert kinds_of([ack], id) == ["CompletionMessage"]
    assert b'"isSystemError":false' in cluster.bus.sent(ANSWERS)[0]
    node.close()
    assert cluster.records() == {}


def test_the_log_names_no_secrets(cluster: Cluster, node: Life, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cluster.put_action()
    cluster.send(content={"password": "hunter2"})
    cluster.send("nosuch", {"password": "hunter2"})
    node.written.wait_for(2)
    node.close()
    assert "hunter2" not in caplog.text
    assert "the-uuid:the-key" not in caplog.text
