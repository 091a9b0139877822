"""Whatever is logged of an activation has its id and its transaction's, from the message to the record: also lines
that name neither, such as those of an action that cannot be fetched or of a container that does not start."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest
from rigs import ANSWERS, WORK, Cluster, Life, WatchedRecords

from instar_controller import log_context
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.structured_logs import JsonFormatter
from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.outbox import Outbox, Parcel
from instar_controller.engines.refusals import Refusals
from instar_controller.errors import ContainerError, StoreError
from instar_controller.log_context import Subject
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk import activation_message
from instar_controller.whisk.activation import Activation

Line = dict[str, str]


class Lines(logging.Handler):
    """Formats each line when it is logged, as the program's own handler does."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def saying(self, text: str) -> Line:
        """The one line with this text."""
        (found,) = [line for line in self.lines if text in line["message"]]
        return found


@pytest.fixture
def log() -> Iterator[Lines]:
    ours = logging.getLogger("instar_controller")
    before, lines = ours.level, Lines()
    ours.addHandler(lines)
    ours.setLevel(logging.DEBUG)
    yield lines
    ours.removeHandler(lines)
    ours.setLevel(before)


def is_about(line: Line, id: str) -> bool:
    """Whether it has both; `Cluster.send` makes the transaction of the id."""
    return (line.get("activation"), line.get("transaction")) == (id, f"request-{id}")


def test_an_action_that_cannot_be_run(cluster: Cluster, node: Life, log: Lines) -> None:
    cluster.put_action("strange", kind="cobol:1")
    id = cluster.send("strange")
    node.written.wait_for(1)
    line = log.saying("action guest/strange cannot be run")
    assert id not in line["message"]
    assert is_about(line, id)


def test_a_container_that_does_not_start(cluster: Cluster, node: Life, log: Lines) -> None:
    def fail(id: ContainerId, kind: str) -> None:
        raise ContainerError("no room")

    node.containers.before_start = fail
    cluster.put_action()
    id = cluster.send()
    node.written.wait_for(1)
    lines = [line for line in log.lines if "did not start" in line["message"]]
    assert lines
    assert all(is_about(line, id) and id not in line["message"] for line in lines)


def test_an_activation_that_comes_again(cluster: Cluster, node: Life, log: Lines) -> None:
    cluster.put_action()
    id = cluster.send()
    cluster.send(activationId=id)
    cluster.send()
    node.written.wait_for(2)
    assert is_about(log.saying("came again"), id)


def test_a_record_that_is_lost(cluster: Cluster, make_node: Callable[..., Life], log: Lines) -> None:
    class Refusing(WatchedRecords):
        def put_activation(self, activation: Activation) -> None:
            super().put_activation(activation)
            raise StoreError("the disk is full")

    records = Refusing(cluster.activations)
    node = make_node(records=records)
    cluster.put_action()
    id = cluster.send()
    records.wait_for(1)
    node.close()
    assert is_about(log.saying("is lost: the disk is full"), id)


def test_whatever_a_container_is_asked_and_a_record_is_kept(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    """So everything that is logged below has both, whoever logs it."""
    found: list[tuple[str, Subject | None]] = []

    class Watching(WatchedRecords):
        def put_activation(self, activation: Activation) -> None:
            found.append(("record", log_context.current()))
            super().put_activation(activation)

    records = Watching(cluster.activations)
    node = make_node(records=records)
    node.containers.before_start = lambda *_: found.append(("start", log_context.current()))
    node.containers.before_post = lambda _, path, body: found.append((path, log_context.current()))
    cluster.put_action()
    id = cluster.send()
    records.wait_for(1)
    subject = Subject(id, f"request-{id}")
    assert found == [(what, subject) for what in ("start", "/init", "/run", "record")]


def test_an_answer_that_the_bus_takes_only_in_part_and_later(cluster: Cluster, log: Lines) -> None:
    """The bus's own thread hears of that, which works on nothing."""
    cluster.bus.ensure_topic("small", TopicSettings(max_message_bytes=4))
    outbox = Outbox(cluster.bus)
    outbox.start()
    try:
        cluster.bus.hold()
        with log_context.about("a" * 32, "request-" + "a" * 32):
            outbox.send(Parcel("small", b"too large", lambda: b"less"))
        assert log_context.current() is None
        cluster.bus.release()
        assert cluster.bus.wait_for("small", 1) == [b"less"]
    finally:
        outbox.close(30)
    assert is_about(log.saying("it is sent without its bulk"), "a" * 32)


def test_an_activation_that_a_dispatcher_answers_for_its_node(cluster: Cluster, node: Life, log: Lines) -> None:
    found: list[Subject | None] = []

    class Acknowledging:
        def completion(self, *_: object) -> None:
            found.append(log_context.current())

    node.close()
    id = cluster.send()
    message = activation_message.parse(cluster.bus.sent(WORK)[-1])
    refusals = Refusals(Acknowledging(), node.written, SystemClock(), node.instance)  # type: ignore[arg-type]
    refusals.fail(message, "its node was lost", lambda: None)
    refusals.complete(message, lambda: None)
    assert found == [Subject(id, f"request-{id}")] * 2
    assert is_about(log.saying("its node was lost"), id)
    assert cluster.bus.sent(ANSWERS) == []
