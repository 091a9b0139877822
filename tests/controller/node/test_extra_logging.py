"""A request with `X-OW-EXTRA-LOGGING: on` has its details in the log at info, every other one at debug."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from rigs import Cluster, Life, completions

DETAILS = ["is taken on", "goes to container", "has ended with success", "is to be stored"]


def test_details_are_told_of_those_who_asked_for_them(
    cluster: Cluster, make_node: Callable[..., Life], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "instar_controller")
    node = make_node()
    cluster.put_action()
    asked = cluster.send(transid=["asked", 1, True])
    usual = cluster.send(transid=["usual", 1])
    cluster.wait_until(lambda: len(completions(cluster.answers())) == 2)
    node.close()
    assert told(caplog, asked, logging.INFO) == told(caplog, usual, logging.DEBUG) == DETAILS
    assert told(caplog, asked, logging.DEBUG) == told(caplog, usual, logging.INFO) == []


def told(caplog: pytest.LogCaptureFixture, id: str, level: int) -> list[str]:
    """Which details of an activation were told at this level, in order."""
    lines = [record.getMessage() for record in caplog.records if record.levelno == level]
    return [detail for line in lines if id in line for detail in DETAILS if detail in line]
