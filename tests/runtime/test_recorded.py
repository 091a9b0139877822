"""Every exchange that was recorded from the stock Python image, sent to ours.

The rule: same status, same JSON, same output, same sentinels, except where `OURS` says what we do instead; and
that table may hold nothing that is not different.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import Start
from tests.runtime.containers import SENTINEL, Exchange

pytestmark = [pytest.mark.system, pytest.mark.slow]

EXCHANGES = json.loads((Path(__file__).parents[1] / "recorded" / "runtime" / "exchanges.json").read_text())
BY_CONTAINER: dict[str, list[dict[str, Any]]] = defaultdict(list)
for one in EXCHANGES:
    BY_CONTAINER[one["container"]].append(one)

# What differs, by the exchange's name: our status, and what our body says. docs/differences.md gives the reasons.
OURS: dict[str, tuple[int, str]] = {
    # Go's words and Python's for the same mistake
    "init_malformed_json": (400, "Error unmarshaling request: "),
    "init_value_is_array": (400, "Error unmarshaling request: value is an array, not an object"),
    "init_code_not_a_string": (400, "Error unmarshaling request: code is a number, not a string"),
    "init_binary_bad_base64": (400, "cannot decode the request: "),
    "init_env_not_an_object": (400, "Error unmarshaling request: env is an array, not an object"),
    # Methods and paths are checked
    "init_get": (405, "POST /init"),
    "get_on_run": (405, "POST /run"),
    "put_on_run": (405, "POST /run"),
    "get_on_root": (404, "Not Found"),
    "post_unknown_path": (404, "Not Found"),
    "get_unknown_path": (404, "Not Found"),
    "clean_logs_path": (404, "Not Found"),
    "init_trailing_slash": (404, "Not Found"),
    # A body that is no run is refused, and the function lives on
    "run_malformed_json": (400, "Error unmarshaling request: "),
    "run_body_is_array": (400, "Error unmarshaling request: "),
    "run_non_string_context_field": (200, "{}"),
    "run_after_malformed_json": (200, "{}"),
    "run_after_non_string_context_field": (200, "{}"),
    "run_after_interpreter_died_in_a_run": (200, "{}"),  # in the recording, an empty GET had killed it
    # So is a result that is not JSON
    "run_returning_not_serialisable": (502, "set is not JSON serializable"),
    "run_returning_not_serialisable_then_1": (502, "set is not JSON serializable"),
    "run_returning_nan": (502, "not JSON compliant"),
    "run_returning_nan_then_1": (502, "not JSON compliant"),
    "run_returning_lone_surrogate": (502, "surrogates not allowed"),
    "run_returning_lone_surrogate_then_1": (502, "surrogates not allowed"),
    "run_async_main": (502, "is async"),
    "run_async_main_then_1": (502, "is async"),
    # Standard input is empty; the results' descriptor is not 3
    "run_stdin_read_by_action": (200, '{"stdin": ""}'),
    "run_writing_to_fd3": (200, "Bad file descriptor"),
    "run_writing_to_fd3_then_1": (200, "Bad file descriptor"),
    # Paths of this machine
    "run_cwd": (200, '"name": "main__"'),
    "run_zip_file_named_exec": (200, "exec"),
}
# A timer decides whether the function has died by then, not the runtime.
BY_CHANCE = {"run_after_interpreter_died_between_runs", "run_after_interpreter_died_between_runs_again"}
# The environment: ours is the image's and what a function is promised, here compared by the latter.
ENVIRONMENTS = {
    "run_env_no_context",
    "run_env_context",
    "run_env_context_second",
    "run_env_context_partial",
    "run_env_minimal",
    "run_context_fields_override",
}
STOCK_ONLY = {"__OW_EXECUTION_ENV", "__OW_PROXY_VERSION", "__OW_WAIT_FOR_ACK", "SHLVL", "LC_CTYPE", "OLDPWD", "PWD"}


@pytest.mark.parametrize("container_name", BY_CONTAINER)
def test_a_recorded_container_is_answered_alike(start: Start, container_name: str) -> None:
    exchanges = BY_CONTAINER[container_name]
    environ = next((one["container_env"] for one in exchanges if "container_env" in one), {})
    container = start(environ={name: value for name, value in environ.items() if name != "__OW_WITH_EQ"})
    for one in exchanges:
        body = expand(one["body"]).encode() if one["body"] is not None else None
        answer = container.send(one["method"], one["path"], body)
        name = one["name"]
        if name in BY_CHANCE:
            continue
        if name in ENVIRONMENTS:
            promised = {key: value for key, value in json.loads(one["answer"]).items() if key not in STOCK_ONLY}
            promised.pop("__OW_WITH_EQ", None)  # cut at its second "=", a mistake of the stock proxy
            assert promised.items() <= answer.json.items(), name
        elif name in OURS:
            assert not is_alike(one, answer), f"{name} is as recorded; it does not belong into OURS"
            status, says = OURS[name]
            assert answer.status == status and says in answer.body.decode(), (name, answer)
            continue
        else:
            assert is_alike(one, answer), (name, answer)
        assert sentinels(answer.out) == sentinels(one["stdout"]), name
        assert sentinels(answer.err) == sentinels(one["stderr"]), name


def is_alike(one: dict[str, Any], answer: Exchange) -> bool:
    return one["status"] == answer.status and json.loads(expand(one["answer"]) or "null") == answer.json


def sentinels(text: str) -> int:
    return text.count(SENTINEL)


def expand(text: str) -> str:
    return re.sub(r"<(.) x (\d+)>", lambda match: match[1] * int(match[2]), text)
