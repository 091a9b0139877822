"""What `/transform` is sent, byte for byte: the body of `/init` with two fields more."""

from __future__ import annotations

import json
import zlib

import pytest
from jobs import action, invocation
from worlds import offer

from instar_controller.engines import messages
from instar_controller.policies.estimates import PlanOffer

# As no writer of JSON in Python would write it: whoever takes it apart and puts it together again changes it.
PLAN = b'{"source" : "\\u00e4",\n "steps":[1.0, 1e2 ], "source":"twice"}'


def test_it_is_the_body_of_init_with_the_plan_as_it_is_and_the_mark() -> None:
    job = invocation(action("def main(args): ... # ❄", main="go"), environment={"MODEL": "net"})
    init = messages.init_body(job, deadline_ms=5)
    sent = messages.transform_body(job, PlanOffer(zlib.compress(PLAN), 5, 25), deadline_ms=5)
    assert sent == init.removesuffix(b"}") + b',"plan":' + PLAN + b',"mark":"' + job.activation_id.encode() + b'"}'


def test_it_is_json() -> None:
    sent = json.loads(messages.transform_body(invocation(), offer({"from": "old"}), deadline_ms=5))
    assert list(sent) == ["value", "plan", "mark"]
    assert sent["plan"] == {"from": "old"}


def test_where_the_container_is_to_load_the_plan_is_null() -> None:
    job = invocation()
    sent = messages.transform_body(job, None, deadline_ms=5)
    assert b',"plan":null,"mark":"' in sent
    assert json.loads(sent)["plan"] is None


def test_a_plan_that_cannot_be_unpacked_is_not_sent() -> None:
    with pytest.raises(zlib.error):
        messages.transform_body(invocation(), PlanOffer(b"damaged", 5, 25), deadline_ms=5)
