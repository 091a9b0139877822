"""A record is stored or not by how the activation was asked for and how it ended; its answers are the same."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from rigs import Cluster, Life, completions, results

from instar_controller.engines import storing
from instar_controller.whisk.store_level import StoreLevel, StoreLevels

ENDS = """
def main(args):
    if args.get("how") == "application error":
        return {"error": "as asked"}
    return "neither" if args.get("how") == "developer error" else args
"""
LEVELS = StoreLevels(StoreLevel.FAILURES, StoreLevel.NOT_APPLICATION_ERRORS)
LIMITED = {
    "subject": "guest",
    "namespace": {"name": "guest", "uuid": "the-uuid"},
    "authkey": {},
    "rights": [],
    "limits": {"storeActivations": False},
}


def test_the_level_and_the_end_decide(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(store_levels=LEVELS)
    cluster.put_action(code=ENDS)
    ends = ("success", "application error", "developer error")
    asked = {(blocking, end): cluster.send(content={"how": end}, blocking=blocking) for blocking in (True, False)
             for end in ends}  # fmt: skip
    unknown = cluster.send("unknown", blocking=False)  # no such action: an application error, and not stored
    ids = [*asked.values(), unknown]
    cluster.wait_until(lambda: set(completions(cluster.answers())) >= set(ids))
    node.close()
    stored = {how for how, id in asked.items() if id in cluster.records()}
    assert stored == {(True, "application error"), (True, "developer error"), (False, "developer error")}
    assert unknown not in cluster.records()
    assert completions(cluster.answers()) == dict.fromkeys(ids, 1)
    assert set(results(cluster.answers())) >= {id for (blocking, _), id in asked.items() if blocking}


def test_extra_logging_has_a_record_whatever_the_level(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(store_levels=LEVELS)
    cluster.put_action(code=ENDS)
    forced = cluster.send(transid=["a-request", 1, True])
    usual = cluster.send(transid=["a-request", 1])
    limited = cluster.send(transid=["a-request", 1, True], user=LIMITED)
    cluster.wait_until(lambda: len(completions(cluster.answers())) == 3)
    node.close()
    assert set(cluster.records()) == {forced}
    assert {usual, limited} < set(completions(cluster.answers()))


def test_what_is_not_stored_is_told_of_if_that_is_wanted(
    cluster: Cluster, make_node: Callable[..., Life], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.NOTSET, storing.logger.name)  # is as it was afterwards
    storing.tell_of_unstored()
    node = make_node(store_levels=LEVELS)
    cluster.put_action(code=ENDS)
    id = cluster.send()
    cluster.wait_until(lambda: len(completions(cluster.answers())) == 1)
    node.close()
    told = [record.getMessage() for record in caplog.records if record.name == storing.logger.name]
    assert told == [
        f"activation {id} of guest/f in guest is not stored: it ended with success, and its level is FAILURES"
    ]
