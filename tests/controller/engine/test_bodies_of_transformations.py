"""What `/transform` is sent: the body of `/init` with two fields more."""

from __future__ import annotations

import json

from jobs import action, invocation

from instar_controller.engines import messages


def test_it_is_the_body_of_init_with_the_plan_and_the_mark() -> None:
    job = invocation(action("def main(args): ...", binary=False, main="go"), environment={"MODEL": "net"})
    sent = json.loads(messages.transform_body(job, {"from": "old"}, deadline_ms=5))
    assert sent.pop("plan") == {"from": "old"}
    assert sent.pop("mark") == job.activation_id
    assert sent == json.loads(messages.init_body(job, deadline_ms=5))


def test_where_the_container_is_to_load_there_is_no_plan() -> None:
    assert json.loads(messages.transform_body(invocation(), None, deadline_ms=5))["plan"] is None
