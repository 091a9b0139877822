"""`instar dispatcher` and two nodes behind it, as processes: one invoker to the controller."""

from __future__ import annotations

import signal

import pytest
from clusters import MEETING, Cluster
from meetings import Meeting

pytestmark = pytest.mark.system


def test_activations_are_shared_among_nodes_and_answered_in_the_dispatchers_name(cluster: Cluster) -> None:
    revision = cluster.put("guest/meeting", MEETING)
    nodes = [cluster.node(name, CONFIG_whisk_containerPool_userMemory="256m") for name in ("a", "b")]
    dispatcher = cluster.dispatcher()
    ping = cluster.controller.wait_for_ping()
    assert ping["name"]["userMemory"] == f"{512 << 20} B"
    with Meeting() as meeting:
        both = [
            cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision) for _ in range(2)
        ]
        meeting.wait_for(2)  # each node has room for one
    for sent in both:
        assert cluster.controller.completion(sent).message["instance"]["instance"] == 0
        assert sent.response == (0, {"met": True})
    dispatcher.wait_until_ready()
    assert dispatcher.metric("instar_dispatched", what="sent") == 2
    assert dispatcher.end(signal.SIGTERM) == 0
    assert [node.end(signal.SIGTERM) for node in nodes] == [0, 0]
    cluster.controller.hear_all()
    assert cluster.controller.pings[-1]["isEnabled"] is False
    assert set(cluster.records()) == {sent.id for sent in both}
    assert all(len(sent.completions) == 1 for sent in both)
