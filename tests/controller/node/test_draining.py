"""How a node ends: what runs may finish, what is left is answered as the platform's failure, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rigs import WAIT_S, Cluster, Life, completions

from instar_controller.engines.scheduler import PoolSettings
from instar_controller.whisk.acks import ResultMessage
from instar_controller.whisk.response import Status
from instar_controller.whisk.wire_activation import WireActivation

BLOCKING = "def main(args):\n    reached.set()\n    gate.wait(60)\n    return args\n"


def reached(cluster: Cluster) -> bool:
    event = cluster.world["reached"]
    assert isinstance(event, threading.Event)
    return event.wait(WAIT_S)


def open_gate(cluster: Cluster) -> None:
    event = cluster.world["gate"]
    assert isinstance(event, threading.Event)
    event.set()


def test_what_runs_may_finish(cluster: Cluster, node: Life) -> None:
    cluster.put_action(code=BLOCKING)
    id = cluster.send(content={"n": 1})
    assert reached(cluster)
    closing = threading.Thread(target=node.close)
    closing.start()
    open_gate(cluster)
    closing.join(WAIT_S)
    result = cluster.answers()[0]
    assert isinstance(result, ResultMessage) and isinstance(result.response, WireActivation)
    assert (result.activation_id, result.response.response.result) == (id, {"n": 1})
    assert set(cluster.records()) == {id}


def test_what_is_left_is_the_platforms_failure(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(pool=PoolSettings(memory_mb=256))
    cluster.put_action(code=BLOCKING)
    ids = [cluster.send(), cluster.send(blocking=False)]
    assert reached(cluster)
    until_s = time.monotonic() + WAIT_S
    while node.engine._scheduler.waiting < 1:  # the other one has come as far
        assert time.monotonic() < until_s
        time.sleep(0.01)
    node.close(drain_s=0.05)
    assert completions(cluster.answers()) == dict.fromkeys(ids, 1)
    responses = [record["response"] for record in cluster.records().values()]
    assert [response["statusCode"] for response in responses] == [3, 3]
    assert sorted(response["result"]["error"] for response in responses) == [
        "Failed to provision resources to run the action.",  # it never had a container
        "The invoker was shut down before the action had ended.",
    ]


def test_what_is_not_read_waits_for_the_next_node(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    cluster.put_action()
    make_node().close()
    id = cluster.send(content={"n": 1})
    make_node()
    cluster.wait_for_answers(2)
    assert completions(cluster.answers()) == {id: 1}


def test_a_node_whose_bus_is_gone_ends_all_the_same(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node()
    cluster.put_action(code=BLOCKING, logs_mb=0)
    cluster.send()
    assert reached(cluster)
    cluster.bus.go_down()
    open_gate(cluster)
    (record,) = node.written.wait_for(1)
    assert record.response.status is Status.SUCCESS
    node.close(drain_s=0.1)
    assert cluster.answers() == []
