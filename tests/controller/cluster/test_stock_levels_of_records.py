"""`instar invoker` stores the records that the stock variables ask for, and logs what it does not store."""

from __future__ import annotations

import signal

import pytest
from clusters import Cluster
from whisk_controllers import now_ms

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

FAILING = "def main(args):\n    return {'error': 'as asked'}\n"


def test_the_stock_levels_and_extra_logging_decide(cluster: Cluster) -> None:
    revision, failing = cluster.put("guest/echo"), cluster.put("guest/failing", FAILING)
    invoker = cluster.invoker(
        CONFIG_whisk_activation_storeBlockingResultLevel="STORE_FAILURES",
        CONFIG_whisk_activation_storeNonBlockingResultLevel="STORE_FAILURES_NOT_APPLICATION_ERRORS",
        CONFIG_whisk_activation_unstoredLogsEnabled="true",
    )
    invoke = cluster.controller.invoke
    left_out = [
        invoke("guest/echo", revision=revision),
        invoke("guest/failing", revision=failing, blocking=False),
    ]
    stored = [
        invoke("guest/failing", revision=failing),
        invoke("guest/echo", revision=revision, transid=["asked-for-more", now_ms(), True]),
    ]
    for each in (*left_out, *stored):
        cluster.controller.completion(each)
    assert invoker.end(signal.SIGTERM) == 0
    assert set(cluster.records()) == {each.id for each in stored}
    for each in left_out:
        assert any(f"activation {each.id} of guest/" in line and "is not stored" in line for line in invoker.log)
    details = [line for line in invoker.log if " INFO " in line and "is taken on" in line]
    assert len(details) == 1 and "transaction asked-for-more" in details[0]
