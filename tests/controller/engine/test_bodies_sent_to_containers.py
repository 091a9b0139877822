"""The bodies of `/init` and `/run`, against what a stock invoker was recorded to send."""

from __future__ import annotations

import json

from jobs import NO_KEY, action, invocation

from instar_controller.engines import messages
from instar_controller.whisk.parameters import Parameter


def test_init_has_the_fields_that_a_stock_invoker_sends() -> None:
    job = invocation(action("def main(a): return a"), environment={"N": '{"a":1}', "MODEL_DIR": "/models"})
    assert json.loads(messages.init_body(job, deadline_ms=1795314721303)) == {
        "value": {
            "name": "f",
            "binary": False,
            "main": "main",
            "code": "def main(a): return a",
            "env": {
                "N": '{"a":1}',
                "MODEL_DIR": "/models",
                "__OW_DEADLINE": "1795314721303",
                "__OW_ACTION_NAME": "/guest/f",
                "__OW_ACTION_VERSION": "0.0.1",
                "__OW_ACTIVATION_ID": job.activation_id,
                "__OW_NAMESPACE": "guest",
                "__OW_TRANSACTION_ID": "a-request",
            },
        }
    }


def test_run_has_the_fields_that_a_stock_invoker_sends() -> None:
    job = invocation(action(name="classify", package="ml"), {"ü": "❄ ☃"}, namespace="whisk.system")
    body = messages.run_body(job, deadline_ms=1795315229986)
    assert "❄".encode() in body
    assert json.loads(body) == {
        "action_name": "/guest/ml/classify",
        "action_version": "0.0.1",
        "activation_id": job.activation_id,
        "deadline": "1795315229986",
        "namespace": "whisk.system",
        "transaction_id": "a-request",
        "value": {"ü": "❄ ☃"},
    }


def test_the_callers_key_is_sent_only_to_actions_that_may_have_it() -> None:
    for notes, gets_it in (((), True), ((Parameter("provide-api-key", True),), True), (NO_KEY, False)):
        job = invocation(action(annotations=notes))
        env = json.loads(messages.init_body(job, deadline_ms=0))["value"]["env"]
        run = json.loads(messages.run_body(job, deadline_ms=0))
        assert ("__OW_API_KEY" in env, "api_key" in run) == (gets_it, gets_it)


def test_a_parameter_cannot_take_the_place_of_the_platforms_own_variables() -> None:
    job = invocation(environment={"__OW_NAMESPACE": "root"})
    assert json.loads(messages.init_body(job, deadline_ms=0))["value"]["env"]["__OW_NAMESPACE"] == "guest"


def test_a_named_entry_point_is_passed_on() -> None:
    body = json.loads(messages.init_body(invocation(action(main="niam")), deadline_ms=0))
    assert body["value"]["main"] == "niam"
