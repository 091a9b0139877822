"""Every exchange that was recorded from the stock Python image, sent to a container of ours and compared.

The rule: status, body, both log streams and their sentinels are the recorded ones, except where `OURS` says what is
there instead, and names the rows of docs/differences.md that give the reason. What `OURS` says must hold, and must
differ from the recording. In the logs, a traceback counts by its last line, and the time in front of a line not.

Run by pytest over processes and over the image, and by the benchmark of the image, which counts.
"""

from __future__ import annotations

import enum
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.runtime.containers import SENTINEL, Exchange, Runtime, await_end

FILE = Path(__file__).parents[1] / "recorded" / "runtime" / "exchanges.json"
AT_ONCE = 2  # containers that `figures` works through side by side: as many as may boot side by side
END = f"{SENTINEL}\n"

# After this exchange the function's process ends by itself; the next one is sent when it has.
DIES_AFTERWARDS = "run_that_dies_afterwards"


class Verdict(enum.Enum):
    EQUAL = "equal"
    BETTER = "better"  # as `OURS` says


@dataclass(frozen=True, slots=True)
class Recorded:
    """One exchange with the stock image."""

    name: str
    container: str
    method: str
    path: str
    body: bytes | None
    environ: Mapping[str, str]  # of the container
    status: int | None  # None: there was no answer
    answer: str
    out: str
    err: str


def _expand(text: str) -> str:
    return re.sub(r"<(.) x (\d+)>", lambda match: match[1] * int(match[2]), text)


def _load() -> list[Recorded]:
    return [
        Recorded(
            name=one["name"],
            container=one["container"],
            method=one["method"],
            path=one["path"],
            body=None if one["body"] is None else _expand(one["body"]).encode(),
            environ=one.get("container_env", {}),
            status=one["status"],
            answer=_expand(one["answer"] or ""),
            out=_expand(one["stdout"]),
            err=_expand(one["stderr"]),
        )
        for one in json.loads(FILE.read_text())
    ]


EXCHANGES = _load()
BY_NAME = {one.name: one for one in EXCHANGES}
BY_CONTAINER: dict[str, list[Recorded]] = defaultdict(list)
for _one in EXCHANGES:
    BY_CONTAINER[_one.container].append(_one)


def environ(container: str) -> Mapping[str, str]:
    """The environment that a recorded container was made with."""
    return next((one.environ for one in BY_CONTAINER[container] if one.environ), {})


# Rows of docs/differences.md, by their first cells

METHODS = "other methods, other paths"
BODY = "malformed body of `/run`, or an array as the whole body"
CONTEXT = "context field of `/run` that is no string"
RESULT = "result that is not JSON (set, lone surrogate, NaN)"
COROUTINE = "`main` that is a coroutine"
FOUND_DEAD = "function found dead between two runs"
ENVIRONMENT = "environment of the function"
STOCK_VARIABLES = "`__OW_EXECUTION_ENV`, `__OW_PROXY_VERSION`, `__OW_WAIT_FOR_ACK`, `SHLVL`, `OLDPWD`, `LC_CTYPE`"
TWO_EQUALS = "`__OW_…` variable of the container with two `=`"
OPEN_LINE = "sentinel after text without a newline"
BUFFERED = "standard output that the function did not flush"
DESCRIPTORS = "standard input, descriptor 3"
SYNTAX = "syntax errors"
NO_MAIN_FILE = "archive without a main file"
PLACE = "where the code lies"
USER = "user of the function"
TYPES = "text for a field of `/init` that has the wrong type"

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Ours:
    """What is there instead. None: as recorded."""

    rows: tuple[str, ...]
    status: int | None = None
    body: Check | None = None
    out: Check | None = None
    err: Check | None = None


def ours(
    *rows: str,
    status: int | None = None,
    body: str | Check | None = None,
    out: str | Check | None = None,
    err: str | Check | None = None,
) -> Ours:
    """Texts are regular expressions for the whole."""
    return Ours(rows, status, _check(body), _check(out), _check(err))


def _check(wanted: str | Check | None) -> Check | None:
    if not isinstance(wanted, str):
        return wanted
    pattern = re.compile(wanted, re.DOTALL)
    return lambda text: pattern.fullmatch(text) is not None


def _error(text: str) -> str:
    return rf'\{{"error":"{text}"\}}\n'


def _environment(name: str) -> Check:
    """Everything that the stock image promises is there, and of OpenWhisk's variables what the container has."""
    stock = json.loads(BY_NAME[name].answer)
    promised = {name: value for name, value in stock.items() if f"`{name}`" not in STOCK_VARIABLES}
    if "__OW_WITH_EQ" in promised:
        promised["__OW_WITH_EQ"] = "a=b=c"

    def check(text: str) -> bool:
        found = json.loads(text)
        here = promised | {"PWD": found["PWD"]}
        more = {name for name in found if name.startswith("__OW_")} - promised.keys() - {"__OW_API_HOST"}
        return here.items() <= found.items() and found["PWD"].endswith("/action") and not more

    return check


ENVIRON = (ENVIRONMENT, STOCK_VARIABLES, PLACE)
REFUSED_PATH = _error("(GET|POST) /.*: Not Found; this serves POST /init and POST /run")
REFUSED_METHOD = _error("(GET|PUT) /.*: Method Not Allowed; this serves POST /init and POST /run")
NOT_JSON = "The action's result is not JSON: "
ASYNC = "The action's function is async; define it with def and call asyncio.run in it."
SET = "Object of type set is not JSON serializable"
NAN = "Out of range float values are not JSON compliant"
SURROGATE = r"'utf-8' codec can't encode character '\\+ud800' in position 7: surrogates not allowed"
MISSING_MAIN = r"ImportError: cannot import name '{}' from 'main__' \(/.*/action/__main__\.py\)\n"
EARLY = f"Command exited abruptly during initialization.\n{END}"


def _not_json(reason: str, *, out: str | None = None) -> Ours:
    text = NOT_JSON + reason
    return ours(RESULT, status=502, body=_error(text), out=out, err=f"{text}\n{END}")


def _lives(row: str) -> Ours:
    return ours(row, status=200, body=r"\{\}\n", out=f"hello stdout\n{END}", err=f"hello stderr\n{END}")


OURS: dict[str, Ours] = {
    # A field of the wrong type is named; the stock image names the types of its program
    "init_value_is_array": ours(TYPES, body=_error("Error unmarshaling request: value is an array, not an object")),
    "init_code_not_a_string": ours(TYPES, body=_error("Error unmarshaling request: code is a number, not a string")),
    "init_env_not_an_object": ours(TYPES, body=_error("Error unmarshaling request: env is an array, not an object")),
    # Methods and paths are checked
    "init_get": ours(METHODS, status=405, body=REFUSED_METHOD),
    "put_on_run": ours(METHODS, status=405, body=REFUSED_METHOD, out="", err=""),
    "get_on_run": ours(METHODS, status=405, body=REFUSED_METHOD, out="", err=""),
    "run_after_interpreter_died_in_a_run": _lives(METHODS),  # in the recording, an empty GET had killed it
    "get_on_root": ours(METHODS, status=404, body=REFUSED_PATH),
    "post_unknown_path": ours(METHODS, status=404, body=REFUSED_PATH),
    "get_unknown_path": ours(METHODS, status=404, body=REFUSED_PATH),
    "clean_logs_path": ours(METHODS, status=404, body=REFUSED_PATH),
    "init_trailing_slash": ours(METHODS, status=404, body=REFUSED_PATH),
    # A body that is no run is refused, and the function lives on
    "run_malformed_json": ours(
        BODY, body=_error(r"Error unmarshaling request: Expecting value: line 1 column 10 \(char 9\)"), err=END
    ),
    "run_after_malformed_json": _lives(BODY),
    "run_body_is_array": ours(BODY, body=_error("Error unmarshaling request: the body is not an object"), err=END),
    "run_non_string_context_field": _lives(CONTEXT),
    "run_after_non_string_context_field": _lives(CONTEXT),
    # So is a result that is no JSON
    "run_returning_not_serialisable": _not_json(SET),
    "run_returning_not_serialisable_then_1": _not_json(SET, out=END),
    "run_returning_nan": ours(RESULT, body=_error(NOT_JSON + NAN), err=f"{NOT_JSON}{NAN}\n{END}"),
    "run_returning_nan_then_1": ours(RESULT, body=_error(NOT_JSON + NAN), err=f"{NOT_JSON}{NAN}\n{END}"),
    "run_returning_lone_surrogate": _not_json(SURROGATE),
    "run_returning_lone_surrogate_then_1": _not_json(SURROGATE, out=END),
    "run_async_main": ours(COROUTINE, status=502, body=_error(ASYNC), err=f"{ASYNC}\n{END}"),
    "run_async_main_then_1": ours(COROUTINE, status=502, body=_error(ASYNC), out=END, err=f"{ASYNC}\n{END}"),
    # There is always an answer
    "run_after_interpreter_died_between_runs_again": ours(
        FOUND_DEAD, status=500, body=_error("no action defined yet")
    ),
    "run_stdin_read_by_action": ours(DESCRIPTORS, status=200, body=r'\{"stdin": ""\}\n', out=END, err=END),
    "run_writing_to_fd3": ours(
        DESCRIPTORS,
        body=r'\{"error": "\[Errno 9\] Bad file descriptor"\}\n',
        err=rf"OSError: \[Errno 9\] Bad file descriptor\n\n{END}",
    ),
    "run_writing_to_fd3_then_1": ours(
        DESCRIPTORS,
        body=r'\{"error": "\[Errno 9\] Bad file descriptor"\}\n',
        err=rf"OSError: \[Errno 9\] Bad file descriptor\n\n{END}",
    ),
    # The log
    "init_output_at_import_not_flushed": ours(BUFFERED, out="at import out\n"),
    "run_output_at_import_not_flushed": ours(BUFFERED, out=END),
    "run_logs_multi_line": ours(
        OPEN_LINE, out=f"line 1\nline 2 ☃\nno newline at the end\n{END}", err=f"err no newline\n{END}"
    ),
    "run_logs_multi_line_then_1": ours(
        OPEN_LINE, out=f"line 1\nline 2 ☃\nno newline at the end\n{END}", err=f"err no newline\n{END}"
    ),
    "init_syntax_error": ours(SYNTAX, err=rf'  File "/.*", line 2\n    return {{\n +\^+\nSyntaxError: .*\n{END}'),
    "init_indentation_error": ours(
        SYNTAX,
        err=rf'  File "/.*", line 2\n    return {{}}\n +\^+\nIndentationError: expected an indented .*\n{END}',
    ),
    "init_zip_syntax_error": ours(
        SYNTAX, err=rf'  File "/.*", line 1\n    def main\(:\n +\^\nSyntaxError: .*\n{END}'
    ),
    "init_source_sent_as_zip_without_binary": ours(SYNTAX, err=rf'  File "/.*", line 1\n.*\nSyntaxError: .*\n{END}'),
    "init_zip_no_main_file": ours(
        NO_MAIN_FILE, err=rf"Zip file does not include main__ \(a file __main__\.py at its root\)\.\n\n{END}"
    ),
    # Where the code lies, and who runs it
    "init_missing_main": ours(PLACE, err=MISSING_MAIN.format("main") + EARLY),
    "init_code_blank": ours(PLACE, err=MISSING_MAIN.format("main") + EARLY),
    "init_zip_missing_entry_function": ours(PLACE, err=MISSING_MAIN.format("niam") + EARLY),
    "run_cwd": ours(
        PLACE,
        USER,
        body=r'\{"cwd": "(/.*/action)", "file": "\1/__main__\.py", "name": "main__", "argv": \["exec__\.py"\], '
        r'"exe": "/.*/bin/python[0-9.]*", "files": \["__main__\.py"\], "enc": "utf-8", "uid": \d+\}\n',
    ),
    "run_zip_file_named_exec": ours(PLACE, body=r'\{"from": "/.*/action/exec"\}\n'),
    # The environment
    "run_env_no_context": ours(*ENVIRON, TWO_EQUALS, body=_environment("run_env_no_context")),
    "run_env_context": ours(*ENVIRON, TWO_EQUALS, body=_environment("run_env_context")),
    "run_env_context_second": ours(*ENVIRON, TWO_EQUALS, body=_environment("run_env_context_second")),
    "run_env_context_partial": ours(*ENVIRON, TWO_EQUALS, body=_environment("run_env_context_partial")),
    "run_env_minimal": ours(*ENVIRON, body=_environment("run_env_minimal")),
    "run_context_fields_override": ours(*ENVIRON, body=_environment("run_context_fields_override")),
}


def replay(container: Runtime, exchanges: Sequence[Recorded]) -> Iterator[tuple[Recorded, Exchange]]:
    """Send the exchanges of one recorded container to one of ours, in order; each with its answer."""
    doomed: int | None = None
    for one in exchanges:
        if doomed is not None:
            await_end(doomed)
            doomed = None
        if one.name == DIES_AFTERWARDS:
            doomed = container.processes()["worker"]
        yield one, container.send(one.method, one.path, one.body)


def judge(one: Recorded, answer: Exchange) -> Verdict:
    """Compare an answer with the recorded one. Raises `AssertionError`."""
    found = {
        "status": answer.status,
        "body": answer.body.decode(),
        "out": normal(answer.out),
        "err": normal(answer.err),
    }
    stock = {"status": one.status, "body": one.answer, "out": normal(one.out), "err": normal(one.err)}
    instead = OURS.get(one.name, Ours(()))
    for what in found:
        wanted = getattr(instead, what)
        if wanted is None:
            assert found[what] == stock[what], (one.name, what, found, stock)
            continue
        assert found[what] != stock[what], f"{one.name}: the {what} is as recorded; it does not belong into OURS"
        assert found[what] == wanted if what == "status" else wanted(found[what]), (one.name, what, found)
    return Verdict.BETTER if instead.rows else Verdict.EQUAL


def normal(log: str) -> str:
    """A log without what may differ: tracebacks but for their last lines, and the time before a line."""
    log = re.sub(r"^Traceback \(most recent call last\):\n(?:  .*\n)*", "", log, flags=re.MULTILINE)
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "<time> ", log, flags=re.MULTILINE)


def figures(start: Callable[[Mapping[str, str]], Runtime]) -> dict[str, int]:
    """Over containers that `start` makes: `exchanges_replayed`, and how many of these are `_equal` and `_better`."""

    def verdicts(name: str) -> Iterator[Verdict | None]:
        container = start(environ(name))
        try:
            for one, answer in replay(container, BY_CONTAINER[name]):
                try:
                    yield judge(one, answer)
                except AssertionError:
                    yield None
        finally:
            container.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [verdict for some in pool.map(lambda name: list(verdicts(name)), BY_CONTAINER) for verdict in some]
    return {
        "exchanges_replayed": len(found),
        "exchanges_equal": found.count(Verdict.EQUAL),
        "exchanges_better": found.count(Verdict.BETTER),
    }
