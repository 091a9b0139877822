"""Eviction and keep-alive with real containers and small settings."""

from __future__ import annotations

from collections.abc import Callable

import container_processes
import pytest
from servers import Server, annotations
from test_serve_ends import wait_for_end

pytestmark = pytest.mark.system


def test_the_longest_unused_container_makes_room(start: Callable[..., Server]) -> None:
    server = start("--memory", "512", "--prewarm", "none")
    for name in ("a", "b", "c"):
        server.create(name)
    starts = []
    for name in ("a", "b", "a", "c", "a", "b"):
        status, activation = server.invoke(name)
        assert status == 200, activation
        server.record(activation["activationId"])  # from then on it is idle, and may be the one that goes
        starts.append(annotations(activation)["instar"]["start"])
    assert starts == ["cold", "cold", "warm", "cold", "warm", "cold"]


def test_an_idle_container_goes_when_its_time_is_up(start: Callable[..., Server]) -> None:
    server = start("--keep-alive", "0.2", "--prewarm", "none")
    server.create("a")
    assert server.start_of("a") == "cold"
    wait_for_end(container_processes.below(server.containers))
    assert server.start_of("a") == "cold"


def test_an_action_may_have_the_pools_whole_memory_and_no_more(start: Callable[..., Server]) -> None:
    server = start("--memory", "1024", "--prewarm", "python:3:256:2")
    server.create("whole", memory=1024)
    assert server.start_of("whole") == "cold"
    status, answer = server.request(
        "PUT", "/actions/more", {"exec": {"kind": "python:3", "code": ""}, "limits": {"memory": 1025}}
    )
    assert status == 400
    assert "memory size 1025 MB exceeds allowed threshold of 1024 MB" in answer["error"]
