"""`instar invoker` as a process: activations in, acknowledgements and records out."""

from __future__ import annotations

import signal

import pytest
from clusters import Cluster

pytestmark = pytest.mark.system


def test_a_blocking_activation_gets_its_result_then_its_completion_and_its_record(cluster: Cluster) -> None:
    revision = cluster.put("guest/echo")
    invoker = cluster.invoker()
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision=revision)
    completion = cluster.controller.completion(sent)
    result, last = sent.acks
    assert last is completion
    assert sent.response == (0, {"a": 1})
    assert sent.activation["logs"] == []
    assert result.message["transid"] == completion.message["transid"] == sent.transid
    assert completion.message["instance"]["instance"] == 0
    assert completion.message["isSystemError"] is False
    assert sent.annotations["instar"]["start"] == "cold"
    assert invoker.end(signal.SIGTERM) == 0
    record = cluster.records()[sent.id]
    assert [line.rpartition(": ")[2] for line in record["logs"]] == ["echo"]
    assert len(cluster.records()) == 1
    assert cluster.containers() == []
