"""Which acknowledgements a controller gets, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from rigs import TALKING, WAIT_S, Cluster, Life, kinds_of

from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.acks import CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.wire_activation import WireActivation


def test_who_waits_gets_the_result_first_and_without_its_log(cluster: Cluster, node: Life) -> None:
    cluster.put_action(code=TALKING)
    id = cluster.send(content={"n": 1})
    result, completion = cluster.wait_for_answers(2)
    assert isinstance(result, ResultMessage) and isinstance(result.response, WireActivation)
    assert (result.activation_id, result.response.response.result, result.response.logs) == (id, {"n": 1}, ())
    assert isinstance(completion, CompletionMessage)
    assert (completion.activation_id, completion.is_system_error, completion.instance.number) == (id, False, 0)
    (record,) = node.written.wait_for(1)
    assert [line.partition(": ")[2] for line in record.logs] == ["a line"]


def test_who_does_not_wait_gets_the_completion_alone(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    id = cluster.send(blocking=False)
    node.written.wait_for(1)
    assert kinds_of(cluster.answers(), id) == ["CompletionMessage"]


def test_without_a_log_both_come_together(cluster: Cluster, node: Life) -> None:
    cluster.put_action(logs_mb=0)
    id = cluster.send(content={"n": 1})
    (combined,) = cluster.wait_for_answers(1)
    assert isinstance(combined, CombinedMessage) and isinstance(combined.response, WireActivation)
    assert combined.response.response.result == {"n": 1}
    node.written.wait_for(1)
    quiet = cluster.send(blocking=False)
    node.written.wait_for(2)
    assert kinds_of(cluster.answers(), id) == ["CombinedMessage"]
    assert kinds_of(cluster.answers(), quiet) == ["CompletionMessage"]


def test_without_a_container_both_come_together(cluster: Cluster, node: Life) -> None:
    def refuse(id: ContainerId, kind: str) -> None:
        raise ContainerError("no room")

    node.containers.before_start = refuse
    cluster.put_action()
    waiting, quiet = cluster.send(), cluster.send(blocking=False)
    answers = {ack.activation_id: ack for ack in cluster.wait_for_answers(2)}
    whole, shrunk = answers[waiting], answers[quiet]  # type: ignore[index]
    assert isinstance(whole, CombinedMessage) and isinstance(whole.response, WireActivation)
    assert whole.is_system_error
    assert isinstance(shrunk, CombinedMessage) and shrunk.response == quiet
    assert {record.activation_id for record in node.written.wait_for(2)} == {waiting, quiet}


def test_the_transaction_id_goes_back_as_it_came(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    transid = ["a", 1_000, True, ["parent", 2, ["grandparent", 3.0]]]
    cluster.send(transid=transid)
    assert [ack.transid.to_json() for ack in cluster.wait_for_answers(2)] == [transid, transid]


def test_a_result_that_no_message_can_carry_is_sent_as_its_id(
    cluster: Cluster, make_node: Callable[..., Life]
) -> None:
    node = make_node()
    cluster.put_action(code="def main(args):\n    return {'big': 'ä' * 1_000_000}\n")
    cluster.put_action("nologs", code="def main(args):\n    return {'big': 'ä' * 1_000_000}\n", logs_mb=0)
    id = cluster.send()
    result, completion = cluster.wait_for_answers(2)
    assert isinstance(result, ResultMessage) and result.response == id
    assert isinstance(completion, CompletionMessage)
    without = cluster.send("nologs")
    combined = cluster.wait_for_answers(3)[2]
    assert isinstance(combined, CombinedMessage) and combined.response == without
    assert len(node.written.wait_for(2)) == 2


def test_a_bus_that_goes_away_loses_no_answer(cluster: Cluster, node: Life) -> None:
    cluster.put_action(code="def main(args):\n    reached.set()\n    gate.wait(60)\n    return args\n")
    id = cluster.send(content={"n": 1})
    assert cluster.world["reached"].wait(WAIT_S)  # type: ignore[attr-defined]
    cluster.bus.go_down()
    cluster.world["gate"].set()  # type: ignore[attr-defined]
    node.written.wait_for(1)
    assert cluster.answers() == []
    cluster.bus.come_back()
    assert kinds_of(cluster.wait_for_answers(2), id) == ["ResultMessage", "CompletionMessage"]
    node.close()
    assert node.observer.counts["sent CompletionMessage"] == 1
