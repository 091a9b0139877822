"""What a stock `wsk` and a plain client sent to a real controller, sent to our server: it answers alike.

Every recorded exchange is one test: of a route that is offered, the answer is like the recorded one (`likeness.py`
says what may differ); of one that is not, it says so. What cannot be alike is listed here, each with its reason.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import recordings
from likeness import body_of, compare, compare_heads
from recordings import Recorded
from replay import GUEST, MinuteClock, Replay, WatchedStore, invoker, parsed
from rest_client import Answer, RestClient

from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.memory import MemoryStore
from instar_controller.errors import OverloadedError
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation

DIFFERENCES = (Path(__file__).parents[3] / "docs" / "differences.md").read_text(encoding="utf-8")

ALL = recordings.load()

# The state of the platform's only invoker where it was not "up"; those exchanges are replayed apart.
INVOKERS: Mapping[str, Mapping[str, str]] = {
    "invokers, none registered": {},
    "503 no invoker is healthy": {},
    "invokers (while the only invoker is unhealthy)": {"invoker0": "unhealthy"},
    "GET /invokers/ready (while the only invoker is unhealthy)": {"invoker0": "unhealthy"},
    "GET /invokers/healthy/count (while the only invoker is unhealthy)": {"invoker0": "unhealthy"},
    "invokers after /disable": {"invoker0": "down"},
    "invokers after /enable": {"invoker0": "up"},
}

TOO_LONG = "blocking invoke above 60 s: 202"  # a minute; the same with a shorter bound is in test_invoking_over_http

REPLAYED = [one for one in ALL if one.name not in INVOKERS and one.name != TOO_LONG]

# What our server does not offer, by what it says of it.
NOT_OFFERED = {
    "Triggers": lambda r: "/triggers/" in r.path,
    "Rules": lambda r: "/rules/" in r.path,
    "Web actions and the API gateway": lambda r: "/web/" in r.path and r.method != "OPTIONS",
    "Swagger documents": lambda r: r.path.endswith("/api-docs"),
    "Sequences": lambda r: kind_sent(r) == "sequence",
    "Docker images as actions (kind 'blackbox')": lambda r: kind_sent(r) == "blackbox",
    "Conductor actions (compositions)": lambda r: r.path.endswith("/actions/cond") and r.method == "POST",
}

# Actions that could not be created, since their kind is not offered, and activations that could not be.
NEVER_CREATED = ("seq", "bb", "bbnone")
NEVER_HAPPENED = (
    "1e852e02c6434fc3852e02c643efc34c",  # of the sequence
    "9b6008c167fc4de9a008c167fcede985",  # of a component of it
    "5a83294d528a477d83294d528a877d86",  # of the trigger
)

KEYS_OF_LINES = frozenset(
    {"activationId", "annotations", "duration", "end", "name", "namespace", "publish", "start", "version"}
    | {"statusCode"}
)
KEYS_OF_RECORDS = KEYS_OF_LINES - {"statusCode"} | {"logs", "response", "subject"}
KEYS_OF_NOTES = frozenset({"path", "waitTime", "kind", "timeout", "limits", "instar"})


def kind_sent(recorded: Recorded) -> str | None:
    body = parsed(recorded)
    code = body.get("exec") if isinstance(body, dict) else None
    return code.get("kind") if isinstance(code, dict) else None


def not_offered(recorded: Recorded) -> str | None:
    return next((what for what, concerns in NOT_OFFERED.items() if concerns(recorded)), None)


def follows_from_what_is_not_offered(recorded: Recorded) -> bool:
    return recorded.path.rpartition("/actions/")[2] in NEVER_CREATED or any(
        id in recorded.path for id in NEVER_HAPPENED
    )


@dataclass(frozen=True)
class Except:
    """How an answer differs, and must: what `of_ours` shows of our body equals what `of_theirs` shows of theirs."""

    why: str
    of_ours: Callable[[Any], Any]
    of_theirs: Callable[[Any], Any] | None = None  # as `of_ours`
    may_have_another_status: bool = False

    def check(self, recorded: Recorded, answer: Answer) -> None:
        assert self.may_have_another_status or compare_heads(recorded, answer) == []
        theirs = recorded.body if recorded.is_cut else body_of(recorded, recorded.text)
        shown = (self.of_theirs or self.of_ours)(theirs)
        assert self.of_ours(body_of(recorded, answer.body.decode())) == shown


def without(*keys: str) -> Callable[[Any], Any]:
    return lambda body: {key: value for key, value in body.items() if key not in keys}


def offered_only(actions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [action for action in actions if action["name"] not in NEVER_CREATED]


def environment_of_stock_proxy(body: dict[str, Any]) -> dict[str, Any]:
    """Without the variables in which the stock image tells of its own inner workings."""
    result = body.get("response", body).get("result", body)
    own = ("__OW_EXECUTION_ENV", "__OW_PROXY_VERSION", "__OW_WAIT_FOR_ACK")
    return {**result, "env": {key: value for key, value in result["env"].items() if key not in own}}


def log_with_its_error(body: dict[str, Any]) -> list[str]:
    """The last line of the log, and what the compiler said without where it said it."""
    said = [line.removeprefix("stderr: ").removeprefix("SyntaxError: ") for line in body["logs"]]
    return [line for line in said if line.startswith("expected")] + said[-1:]


def place_and_mark(body: dict[str, Any]) -> list[str]:
    """Where the JSON breaks, and the line with the mark below it."""
    said, *shown = body["error"].partition(":\n")[2].splitlines()
    return [*re.findall(r"at (input index \d+ \(line \d+, position \d+\))", said), *shown]


def first_line_and_warning(texts: str) -> list[str]:
    return sorted(set(re.findall(r"stdout: line 0\b|stderr: Logs were truncated [^\"']*", texts)))


EXCEPTIONS = {
    "property get --all": Except(
        "another build", lambda body: body if isinstance(body, list) else without("build", "buildno")(body)
    ),
    "invokers": Except("another name", lambda body: list(body.values())),
    "in-flight": Except("what is in flight depends on how fast things are", type),
    "400 malformed JSON": Except("another parser", place_and_mark),
    "400 unknown kind": Except("other kinds", lambda body: body["error"].partition("Valid values")[0]),
    "invoke with init parameters": Except("another image", environment_of_stock_proxy),
    "invoke with api key": Except("another image", environment_of_stock_proxy),
    "rule list": Except("no rule could be made", lambda body: body, lambda body: []),
    "count=true": Except(
        "the sequence could not be made", lambda body: body, lambda body: {"actions": body["actions"] - 1}
    ),
    "limit 0": Except("not all actions could be made", offered_only),
    "list": Except("not all actions could be made", offered_only),
    "memory exhausted": Except(
        "memory is counted, not enforced, where containers are processes", set, may_have_another_status=True
    ),
    "activation get: developer error (init fails): 502": Except("another compiler's words", log_with_its_error),
    "activation logs, cut at the limit": Except(
        "lines of another time",
        lambda body: first_line_and_warning(str(body)),
        lambda body: first_line_and_warning(body["head"] + body["tail"]),
    ),
}


def is_activation_list(recorded: Recorded) -> bool:
    return recorded.path.endswith("/activations") and recorded.method == "GET" and recorded.status == 200


def ids(recorded: Iterable[Recorded]) -> list[str]:
    return [one.id for one in recorded]


REFUSED = [one for one in REPLAYED if not_offered(one) is not None]
GONE = [one for one in REPLAYED if not_offered(one) is None and follows_from_what_is_not_offered(one)]
LISTS = [one for one in REPLAYED if is_activation_list(one)]
SAME = [one for one in REPLAYED if one not in REFUSED + GONE + LISTS]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    """What our server answers to all of them, by their ids; actions run in real containers."""
    store, clock = WatchedStore(), MinuteClock()
    environment = {
        **os.environ,
        "__OW_API_HOST": "https://openwhisk.example.org",
        "__OW_ALLOW_CONCURRENT": "false",
    }
    with invoker(store, clock, tmp_path_factory.mktemp("containers"), environment) as engine:
        yield Replay(store, clock, engine).run(REPLAYED)


@pytest.mark.system
@pytest.mark.timeout(600)  # the first of them waits for the whole replay, some dozens of cold starts
@pytest.mark.parametrize("recorded", SAME, ids=ids(SAME))
def test_an_answer_is_like_the_recorded_one(recorded: Recorded, answers: dict[str, Answer]) -> None:
    answer = answers[recorded.id]
    if recorded.name in EXCEPTIONS:
        EXCEPTIONS[recorded.name].check(recorded, answer)
    else:
        assert compare(recorded, answer) == []


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recorded", REFUSED, ids=ids(REFUSED))
def test_what_is_not_offered_is_said_and_listed(recorded: Recorded, answers: dict[str, Answer]) -> None:
    what = not_offered(recorded)
    answer = answers[recorded.id]
    assert answer.status == 501
    assert answer.error == f"{what} are not offered by `instar serve`; see docs/differences.md."
    assert f"| {what} |" in DIFFERENCES


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recorded", GONE, ids=ids(GONE))
def test_what_was_never_made_is_not_there(recorded: Recorded, answers: dict[str, Answer]) -> None:
    answer = answers[recorded.id]
    assert (answer.status, answer.error) == (404, "The requested resource does not exist.")


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recorded", LISTS, ids=ids(LISTS))
def test_a_list_of_activations_has_lines_like_the_recorded_ones(
    recorded: Recorded, answers: dict[str, Answer]
) -> None:
    # Which activations there were differs: some came from what is not offered, and the database was late.
    answer = answers[recorded.id]
    assert compare_heads(recorded, answer) == []
    if "count=true" in recorded.target:
        assert set(answer.json) == {"activations"}
        return
    keys = KEYS_OF_RECORDS if "docs=true" in recorded.target else KEYS_OF_LINES
    for line in answer.json:
        assert set(line) == keys
        assert {note["key"] for note in line["annotations"]} - {"initTime", "binding"} == KEYS_OF_NOTES
    if recorded.name == "activation list BINDING/NAME":
        assert body_of(recorded, answer.body.decode()) == body_of(recorded, recorded.text)


def test_the_keys_of_lists_are_the_recorded_ones() -> None:
    listed = [(one, json.loads(one.text)) for one in LISTS if not one.is_cut and "count" not in one.target]
    lines = [(one, line) for one, found in listed for line in found if "statusCode" in line or "response" in line]
    assert len(lines) >= 10
    for one, line in lines:
        keys = KEYS_OF_RECORDS if "docs=true" in one.target else KEYS_OF_LINES
        assert set(line) - {"cause"} == keys


class FixedInvokers:
    """An `Invocations` without any capacity, whose invokers are in given states."""

    def __init__(self, states: Mapping[str, str]) -> None:
        self._states = states

    def submit(self, invocation: Invocation) -> Future[Activation]:
        raise OverloadedError

    def invokers(self) -> Mapping[str, str]:
        return self._states


APART = [one for one in ALL if one.name in INVOKERS]


@pytest.mark.parametrize("recorded", APART, ids=ids(APART))
def test_while_the_invoker_is_not_up_the_answers_are_alike(recorded: Recorded) -> None:
    store, clock = MemoryStore(), MinuteClock()
    identities.add(store, clock, GUEST)
    app = create_app(Services(store, FixedInvokers(INVOKERS[recorded.name]), clock))
    RestClient(app, GUEST).create("early")
    answer = RestClient(app, None).send(
        recorded.method, recorded.target, raw=recorded.sent or None, headers=recorded.sent_headers
    )
    assert compare(recorded, answer) == []


def test_every_recorded_exchange_is_accounted_for() -> None:
    too_long = [one for one in ALL if one.name == TOO_LONG]
    assert len(SAME) + len(REFUSED) + len(GONE) + len(LISTS) + len(APART) + len(too_long) == len(ALL) == 257
