"""The broker fails programs in every way it can: it goes and comes back, with what it had or without; it loses single
topics; it takes no message that is too long. Each activation has one completion and at most one record.

No topic is made here because somebody asks for it: those that the controller does not make are made by programs, also
when they have gone. What did not happen is told by what came later.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from brokers import Broker
from clusters import MEETING, Cluster
from confluent_kafka import KafkaError, KafkaException
from databases import Databases
from meetings import Meeting
from programs import WAIT_S, RunningProgram
from whisk_controllers import Sent

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

READER = "instar_controller.clients.kafka.subscription"
PATIENT = {"INSTAR_FENCE": "60", "INSTAR_DEAD": "120"}  # nobody is given up, however slow the machine
SMALL = {"CONFIG_whisk_containerPool_userMemory": "512m"}


@pytest.fixture
def cluster(own_broker: Broker, databases: Databases, tmp_path: Path) -> Iterator[Cluster]:
    """One whose broker a test may break."""
    own_broker.relay.makes_topics = False
    made = Cluster(own_broker.hosts, databases, tmp_path, prefix="")
    made.put("guest/echo")
    made.put("guest/meeting", MEETING)
    yield made
    made.close()


def echo(cluster: Cluster, count: int) -> list[Sent]:
    """Send so many, which answer what they are asked."""
    return [_invoke(cluster, {"n": n}) for n in range(count)]


def _invoke(cluster: Cluster, content: dict[str, int]) -> Sent:
    """A controller's client that has learnt that there is no topic sends nothing, until it looks again."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return cluster.controller.invoke("guest/echo", content)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._UNKNOWN_TOPIC or time.monotonic() > until_s:
                raise
            time.sleep(0.1)


def begin(cluster: Cluster, meeting: Meeting) -> Sent:
    """Send one that runs for as long as it is wanted, and wait until it does."""
    sent = cluster.controller.invoke("guest/meeting", {"port": meeting.port})
    meeting.wait_for(1)
    return sent


def empty(cluster: Cluster, broker: Broker) -> None:
    """The broker is killed, and comes back without anything; the controller makes its topics again, and whoever reads
    the invoker's makes that: before this, messages to it would be lost, as the controller's own client gives them up.
    """
    with cluster.controller.deaf() as topics:
        broker.kill()
        broker.relay.hold_fetches()  # so that whoever asks for an old place finds it there by chance
        broker.restart()
        for topic in topics:
            broker.make(topic)
    broker.wait_for_topic("invoker0")


def have_run(cluster: Cluster, sent: Iterable[Sent]) -> None:
    """Wait for all that is said of them: of a broker that goes, or loses a topic, nobody would hear the rest."""
    for each in sent:
        assert cluster.controller.result(each).keys() == {"n"}
        cluster.controller.completion(each)


def end(cluster: Cluster, sent: Iterable[Sent], *programs: RunningProgram) -> None:
    """All of them end well; and each activation has one completion, one result and one record."""
    for program in programs:
        assert program.end(signal.SIGTERM) == 0
    cluster.controller.hear_all()
    for each in sent:
        assert (len(each.completions), len(each.results)) == (1, 1), each
    assert set(cluster.records()) == {each.id for each in sent}
    assert cluster.controller.strange == []


def runs_nothing_again(cluster: Cluster, sent: list[Sent]) -> None:
    """The next life of the invoker finds nothing to do but what is sent to it."""
    invoker = cluster.invoker()
    last = echo(cluster, 1)
    have_run(cluster, last)
    assert invoker.metric("instar_messages_total", fate="run") == 1
    end(cluster, [*sent, *last], invoker)


def test_a_broker_that_comes_back_with_what_it_had_costs_time_and_nothing_else(
    cluster: Cluster, own_broker: Broker
) -> None:
    invoker = cluster.invoker()
    with Meeting() as meeting:
        begun = begin(cluster, meeting)
        own_broker.relay.break_off()
        invoker.wait_for_metric(lambda up: up == 0, "instar_up", what="bus")
        waiting = echo(cluster, 5)
    invoker.wait_for_metric(lambda count: count > 0, "instar_answers_waiting")
    assert invoker.ask("/readyz")[0] == 503
    own_broker.relay.mend()
    assert cluster.controller.result(begun) == {"met": True}
    have_run(cluster, waiting)
    invoker.wait_for_metric(lambda up: up == 1, "instar_up", what="bus")
    end(cluster, [begun, *waiting], invoker)


def test_a_broker_that_comes_back_empty_loses_and_doubles_nothing(cluster: Cluster, own_broker: Broker) -> None:
    invoker = cluster.invoker()
    early = echo(cluster, 3)
    have_run(cluster, early)
    with Meeting() as meeting:
        begun = begin(cluster, meeting)
        empty(cluster, own_broker)
        late = echo(cluster, 8)  # past the old place, which was 4
        cluster.controller.flush()
        own_broker.relay.release_fetches()
        have_run(cluster, late)
    assert cluster.controller.result(begun) == {"met": True}
    assert (invoker.metric("instar_log_messages_total", level="warning", logger=READER) or 0) >= 1
    sent = [*early, begun, *late]
    end(cluster, sent, invoker)
    runs_nothing_again(cluster, sent)


def test_a_topic_that_is_deleted_is_made_again_and_read_from_its_beginning(
    cluster: Cluster, own_broker: Broker
) -> None:
    invoker = cluster.invoker()
    early = echo(cluster, 3)
    have_run(cluster, early)
    own_broker.delete("invoker0")
    invoker.wait_for_metric(lambda count: count >= 1, "instar_log_messages_total", level="warning", logger=READER)
    late = echo(cluster, 5)
    have_run(cluster, late)
    end(cluster, [*early, *late], invoker)
    runs_nothing_again(cluster, [*early, *late])


def test_an_answer_that_is_too_long_is_its_id_and_loses_no_other(cluster: Cluster, own_broker: Broker) -> None:
    with cluster.controller.deaf():
        own_broker.delete("completed0")
        own_broker.make("completed0", most_bytes=4_000)
    invoker = cluster.invoker()
    long = {"text": "x" * 5_000}
    sent = [cluster.controller.invoke("guest/echo", [{}, long][n % 4 == 0]) for n in range(12)]
    for n, each in enumerate(sent):
        cluster.controller.wait(lambda each=each: bool(each.completions and each.results), f"answer to {each.id}")  # type: ignore[misc]
        assert (each.results[0].message["response"] == each.id) is (n % 4 == 0)
    end(cluster, sent, invoker)
    assert all(cluster.records()[each.id]["response"]["result"] == long for each in sent[::4])


def test_an_outage_beyond_the_fence_is_answered_for_by_the_dispatcher(cluster: Cluster, own_broker: Broker) -> None:
    node = cluster.node("a", **SMALL)
    dispatcher = cluster.dispatcher()
    with Meeting() as meeting:
        begun = begin(cluster, meeting)
        dispatcher.wait_for_metric(lambda count: count == 0, "instar_dispatching", state="uncommitted")
        own_broker.relay.break_off()
        waiting = echo(cluster, 1)
    # It has answered, to nobody, and may not any more.
    node.wait_for_metric(lambda count: count == 1, "instar_acks_total", kind="CompletionMessage", fate="failed")
    own_broker.relay.mend()
    assert cluster.controller.completion(begun).message["isSystemError"] is True
    assert begun.response[1] == {"error": "The node that ran the action was lost."}
    have_run(cluster, waiting)
    # More than one where the machine stands still for so long that a later life is not heard, either.
    assert (dispatcher.metric("instar_dispatched", what="lost_nodes") or 0) >= 1
    assert dispatcher.metric("instar_dispatched", what="failed") == 1
    end(cluster, [begun, *waiting], dispatcher, node)


def test_behind_a_dispatcher_an_emptied_broker_loses_and_doubles_nothing(
    cluster: Cluster, own_broker: Broker
) -> None:
    node = cluster.node("a", **SMALL, **PATIENT)
    dispatcher = cluster.dispatcher(**PATIENT)
    early = echo(cluster, 3)
    have_run(cluster, early)
    with Meeting() as meeting:
        begun = begin(cluster, meeting)
        # A node says once that something is done: of what a broker has taken and lost nobody hears.
        dispatcher.wait_for_metric(lambda count: count == 3, "instar_dispatched", what="finished")
        empty(cluster, own_broker)
        own_broker.relay.release_fetches()
        late = echo(cluster, 8)
        have_run(cluster, late)
    assert cluster.controller.result(begun) == {"met": True}
    assert (dispatcher.metric("instar_log_messages_total", level="warning", logger=READER) or 0) >= 1
    end(cluster, [*early, begun, *late], dispatcher, node)


def test_a_message_that_is_too_long_for_a_nodes_topic_is_answered(cluster: Cluster, own_broker: Broker) -> None:
    own_broker.make("instar-node-a", most_bytes=8_000)
    node = cluster.node("a", **SMALL, **PATIENT)
    dispatcher = cluster.dispatcher(**PATIENT)
    sizes = [1, 9_000, 1, 1, 9_000, 1]
    sent = [cluster.controller.invoke("guest/echo", {"n": "x" * size}) for size in sizes]
    for size, each in zip(sizes, sent, strict=True):
        failed = cluster.controller.completion(each).message["isSystemError"]
        assert failed is (size == 9_000)
        if failed:
            assert each.response[1] == {"error": "The activation was too large to be sent to a node."}
    assert dispatcher.metric("instar_dispatched", what="failed") == 2
    end(cluster, sent, dispatcher, node)


def test_programs_whose_broker_has_gone_for_good_end_all_the_same(cluster: Cluster, own_broker: Broker) -> None:
    node = cluster.node("a", "--drain", "1", **SMALL, **PATIENT)
    dispatcher = cluster.dispatcher("--drain", "1", **PATIENT)
    with Meeting() as meeting:
        begin(cluster, meeting)
        own_broker.kill()
        for program in (dispatcher, node):
            program.process.send_signal(signal.SIGTERM)
        assert [program.wait() for program in (dispatcher, node)] == [0, 0]
    assert len(cluster.records()) == 1  # says that it was interrupted; nobody could be told
