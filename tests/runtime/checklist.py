"""OpenWhisk's own checklist for a runtime, as rows that hold for any container that speaks its protocol.

B are its `BasicActionRunnerTests`, P those of the Python runtime, D what the tests of its Docker skeleton ask of a
runtime without a stub, C what `limits.concurrency` above 1 asks. The rule: a row is a function of one fresh
container, and raises `AssertionError` where the container does not do what the row's name says.

Run by pytest over processes and over the image, and by the benchmark of the image, which counts.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.runtime.containers import SENTINEL, Runtime, await_end, zipped

ECHO = "def main(args):\n    return args\n"
PRINTING_ECHO = """import sys
def main(args):
    print('hello stdout')
    print('hello stderr', file=sys.stderr)
    return args
"""
MISSING = {"error": "Missing main/no code to execute."}
NOT_BUILT = {"error": "The action failed to generate or locate a binary. See logs for details."}
NOT_STARTED = {"error": "Cannot start action. Check logs for details."}
ACTIVATE = "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), 'site'))\n"
AGENT = {
    "virtualenv/bin/activate_this.py": ACTIVATE,
    "virtualenv/site/browser.py": "AGENT = 'a browser'\n",
    "__main__.py": "import browser\ndef main(args):\n    return {'agent': browser.AGENT}\nnaim = main\n",
}
MEET = """import threading
GATE = threading.Barrier(4)
def main(args):
    try:
        GATE.wait(args['timeout_s'])
        return {'met': True}
    except threading.BrokenBarrierError:
        return {'met': False}
"""
# Waits for a signal, which may come before the run does.
PATIENT = """import signal, time
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(True))
def main(args):
    while args['is_to_wait'] and not came:
        time.sleep(0.01)
    return args
"""
CONCURRENT = {"__OW_ALLOW_CONCURRENT": "true"}
AT_ONCE = 2  # rows that `failures` checks side by side: as many as containers that may boot side by side


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    check: Callable[[Runtime], None]
    environ: Mapping[str, str] = field(default_factory=dict)  # of the container

    def __str__(self) -> str:
        return self.name


ROWS: list[Row] = []


def row(name: str, **environ: str) -> Callable[[Callable[[Runtime], None]], Callable[[Runtime], None]]:
    """Puts a function into `ROWS`, for a container with these variables."""

    def put(check: Callable[[Runtime], None]) -> Callable[[Runtime], None]:
        ROWS.append(Row(name, check, environ))
        return check

    return put


def failures(start: Callable[[Mapping[str, str]], Runtime]) -> dict[str, str]:
    """Check every row, each in a container of its own that `start` makes; what went wrong, by the row's name."""

    def check(one: Row) -> str | None:
        container = start(one.environ)
        try:
            one.check(container)
        except Exception:  # whatever it is, the row has not passed
            return traceback.format_exc()
        finally:
            container.close()
        return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(check, ROWS)
        return {one.name: text for one, text in zip(ROWS, found, strict=True) if text is not None}


def figures(start: Callable[[Mapping[str, str]], Runtime]) -> dict[str, int]:
    """`checklist_rows` and `checklist_passed`."""
    return {"checklist_rows": len(ROWS), "checklist_passed": len(ROWS) - len(failures(start))}


@row("B1 empty code is refused")
def _(container: Runtime) -> None:
    assert container.init("").status == 403


@row("B2 an empty body is refused")
def _(container: Runtime) -> None:
    answer = container.post("/init", {})
    assert (answer.status, answer.json) == (403, MISSING)


@row("B3 a string is no result")
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    return 'text'\n").status == 200
    answer = container.post("/run", {})
    assert answer.status == 502
    assert answer.json == {"error": "The action did not return a dictionary or array."}
    assert (answer.sentinels, answer.printed) == ((1, 1), ("", ""))


@row("B4 a second init is refused")
def _(container: Runtime) -> None:
    assert container.init(ECHO).status == 200
    answer = container.init(ECHO)
    text = "Cannot initialize the action more than once."
    assert (answer.status, answer.json) == (403, {"error": text})
    out, err = container.printed()
    assert text in err
    assert SENTINEL not in out + err


@row("B5 the entry point has any name")
def _(container: Runtime) -> None:
    assert container.init("def niam(args):\n    return args\n", main="niam").status == 200
    answer = container.run({"string": "hello"})
    assert (answer.status, answer.json, answer.printed) == (200, {"string": "hello"}, ("", ""))


@row("B6 an echo logs and answers each time")
def _(container: Runtime) -> None:
    assert container.init(PRINTING_ECHO).status == 200
    values: list[dict[str, Any]] = [
        {"string": "hello"},
        {"string": "❄ ☃ ❄"},
        {"numbers": [42, 1]},
        {"object": {"a": "A"}},
    ]
    for value in values:
        answer = container.run(value)
        assert (answer.status, answer.json) == (200, value)
        assert answer.printed == ("hello stdout", "hello stderr")
    out, err = container.printed()
    assert out.count(SENTINEL) == err.count(SENTINEL) == 4


@row("B7 source is unicode")
def _(container: Runtime) -> None:
    source = (
        "def main(args):\n    d = args['delimiter']\n    s = d + ' ☃ ' + d\n    print(s)\n    return {'winter': s}\n"
    )
    assert container.init(source).status == 200
    answer = container.run({"delimiter": "❄"})
    assert (answer.json, answer.printed) == ({"winter": "❄ ☃ ❄"}, ("❄ ☃ ❄", ""))


@row("B8 init's environment is there at import")
def _(container: Runtime) -> None:
    source = (
        "import os\nS = os.environ['SOME_VAR']\nA = os.environ['ANOTHER_VAR']\n"
        "def main(args):\n    return {'some': S, 'another': A}\n"
    )
    assert container.init(source, env={"SOME_VAR": "xyz", "ANOTHER_VAR": ""}).status == 200
    answer = container.run()
    assert (answer.status, answer.json, answer.printed) == (200, {"some": "xyz", "another": ""}, ("", ""))


@row("B9 the activation's context is in the environment", __OW_API_HOST="xyz")
def _(container: Runtime) -> None:
    names = ["api_host", "api_key", "namespace", "action_name", "action_version", "activation_id", "deadline"]
    source = f"import os\ndef main(args):\n    return {{n: os.environ['__OW_' + n.upper()] for n in {names}}}\n"
    assert container.init(source).status == 200
    context: dict[str, Any] = {
        "api_key": "abc",
        "namespace": "zzz",
        "action_name": "xxx",
        "action_version": "0.0.1",
        "activation_id": "iii",
        "deadline": "123",
    }
    answer = container.run(**context)
    assert (answer.status, answer.json, answer.printed) == (200, {"api_host": "xyz", **context}, ("", ""))


@row("B10 a large argument comes back")
def _(container: Runtime) -> None:
    assert container.init(ECHO).status == 200
    value = {"arg": "a" * 1_048_561}
    answer = container.run(value)
    assert answer.json == value
    assert answer.headers["Content-Length"] == str(len(answer.body))


@row("P1 a zip imports its own modules")
def _(container: Runtime) -> None:
    files = {
        "__main__.py": "from echo import echo\ndef niam(args):\n    return echo(args)\n",
        "echo.py": "def echo(args):\n    return {'echo': args}\n",
    }
    assert container.init(zipped(files), main="niam").status == 200
    answer = container.run({"a": 1})
    assert (answer.status, answer.json) == (200, {"echo": {"a": 1}})
    assert (answer.printed, answer.sentinels) == (("", ""), (1, 1))


@row("P2 a zip reads its own files")
def _(container: Runtime) -> None:
    files = {"__main__.py": "def main(args):\n    return {'text': open('data.txt').read()}\n", "data.txt": "content"}
    assert container.init(zipped(files)).status == 200
    assert container.run().json == {"text": "content"}


@row("P3 a zip without a main module is refused")
def _(container: Runtime) -> None:
    answer = container.init(zipped({"hello.py": ECHO}))
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "Zip file does not include" in answer.err
    assert (answer.printed[0], answer.sentinels) == ("", (1, 1))


@row("P4 an exception is the answer")
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    return {'x': 1 / 0}\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (200, {"error": "division by zero"})
    assert "Traceback" in answer.err
    assert answer.printed[0] == ""


@row("P5 a syntax error is found at init")
def _(container: Runtime) -> None:
    answer = container.init("def main(args:\n    return {\n")
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "SyntaxError" in answer.err
    assert answer.sentinels == (1, 1)


@row("P6 an error field is an ordinary answer")
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    return {'error': 'sorry'}\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json, answer.printed) == (200, {"error": "sorry"}, ("", ""))


@row("P7 a missing module is found at init")
def _(container: Runtime) -> None:
    answer = container.init("import nosuchmodule\ndef main(args):\n    return {}\n")
    assert (answer.status, answer.json) == (502, NOT_STARTED)
    assert "Traceback" in answer.err
    assert "nosuchmodule" in answer.err
    assert answer.sentinels == (1, 1)


@row("P8 the interpreter is python")
def _(container: Runtime) -> None:
    assert container.init("import sys\ndef main(args):\n    return {'exe': sys.executable}\n").status == 200
    assert "python" in container.run().json["exe"]


@row("P9 an array is a result")
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    return [1, 'two', {'three': 3}]\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (200, [1, "two", {"three": 3}])


@row("P10 an array is an argument")
def _(container: Runtime) -> None:
    assert container.init(ECHO).status == 200
    answer = container.run([1, "two", {"three": 3}])
    assert (answer.status, answer.json) == (200, [1, "two", {"three": 3}])


@row("P11 an exit ends the process")
def _(container: Runtime) -> None:
    assert container.init("import sys\ndef main(args):\n    sys.exit(1)\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (400, {"error": "command exited"})
    assert (answer.printed, answer.sentinels) == (("", ""), (1, 1))


@row("P12 an exit at import fails the init")
def _(container: Runtime) -> None:
    answer = container.init("import sys\nsys.exit(1)\n")
    assert (answer.status, answer.json) == (502, NOT_STARTED)
    assert answer.printed == ("", "Command exited abruptly during initialization.")
    assert answer.sentinels == (1, 1)


@row("P13 what is printed at import comes before the first run")
def _(container: Runtime) -> None:
    source = "import os\nX = os.environ['X']\nprint(X)\ndef main(args):\n    return {}\n"
    init = container.init(source, env={"X": "xyz"})
    assert (init.status, init.sentinels) == (200, (0, 0))
    assert container.run().status == 200
    assert container.printed() == (f"xyz\n{SENTINEL}\n", f"{SENTINEL}\n")


@row("P14 a bundled virtualenv is used, entry main")
def _(container: Runtime) -> None:
    assert container.init(zipped(AGENT), main="main").status == 200
    assert container.run().json == {"agent": "a browser"}


@row("P14 a bundled virtualenv is used, entry naim")
def _(container: Runtime) -> None:
    assert container.init(zipped(AGENT), main="naim").status == 200
    assert container.run().json == {"agent": "a browser"}


@row("P15 a virtualenv does not hide a missing entry point")
def _(container: Runtime) -> None:
    answer = container.init(zipped(AGENT), main="nosuchfunction")
    assert (answer.status, answer.json) == (502, NOT_STARTED)


@row("P16 a broken virtualenv is refused")
def _(container: Runtime) -> None:
    answer = container.init(zipped({"__main__.py": ECHO, "virtualenv/bin/readme": "x"}))
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "Invalid virtualenv" in answer.err


@row("P17 there is no stub for an action without code")
def _(container: Runtime) -> None:
    for code in ("", None):
        answer = container.init(code)
        assert (answer.status, answer.json) == (403, MISSING)
    assert container.run().status == 500


@row("D1 a run before init is refused")
def _(container: Runtime) -> None:
    answer = container.run({"a": 1})
    assert (answer.status, answer.json) == (500, {"error": "no action defined yet"})
    assert (answer.out, answer.err) == ("", "")
    assert container.init(ECHO).status == 200
    assert container.run({"a": 1}).json == {"a": 1}


@row("D2 a run with a text as its value is answered")
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    return {'got': args}\n").status == 200
    answer = container.run("text")
    assert (answer.status, answer.json, answer.sentinels) == (200, {"got": "text"}, (1, 1))


@row("D3 a zip whose main file is named exec runs")
def _(container: Runtime) -> None:
    assert container.init(zipped({"exec": ECHO})).status == 200
    assert container.run({"a": 1}).json == {"a": 1}


@row("D4 the working directory is the action's")
def _(container: Runtime) -> None:
    source = """import os
def main(args):
    here = os.path.dirname(__file__)
    return {'same': os.getcwd() == here == os.environ['PWD'], 'parts': here.split('/')}
"""
    assert container.init(source).status == 200
    found = container.run().json
    assert found["same"] is True
    assert "action" in found["parts"]


@row("D5 a caller that gives up harms nobody")
def _(container: Runtime) -> None:
    """The skeleton's «bad container»: a client's time limit holds, whatever the function does."""
    assert container.init(PATIENT).status == 200
    try:
        container.run({"is_to_wait": True}, timeout_s=0.3)
    except TimeoutError:
        pass
    else:
        raise AssertionError("a run was answered that has not ended")
    os.kill(container.processes()["worker"], signal.SIGUSR1)
    assert container.run({"is_to_wait": False}).json == {"is_to_wait": False}


@row("D6 a proxy that ends breaks the connection")
def _(container: Runtime) -> None:
    """The skeleton's other «bad container»: a client sees the end at once, and need not wait for its time limit."""
    assert container.init("import threading\ndef main(args):\n    threading.Event().wait()\n").status == 200
    proxy = container.processes()["proxy"]
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(container.run, timeout_s=100)
        os.kill(proxy, signal.SIGKILL)
        await_end(proxy)
        error = run.exception(timeout=50)
    assert isinstance(error, OSError), error


@row("D7 an archive that the stock image compiled runs")
def _(container: Runtime) -> None:
    files = {
        "exec": '#!/bin/bash\ncd "$(dirname $0)"\nexec /usr/local/bin/python exec__.py\n',
        "exec.env": "openwhisk/action-python-v3.11",
        "exec__.py": "from main__ import niam as main\n",
        "main__.py": "from lib import greet\ndef niam(args):\n    return greet(args)\n",
        "lib.py": "def greet(args):\n    return {'hello': args}\n",
    }
    assert container.init(zipped(files), main="niam").status == 200
    assert container.run({"a": 1}).json == {"hello": {"a": 1}}


@row("C1 runs execute at once", **CONCURRENT)
def _(container: Runtime) -> None:
    assert container.init(MEET).status == 200
    assert _together(container, 4, {"timeout_s": 20}) == [{"met": True}] * 4


@row("C2 runs take turns where concurrency is not allowed", __OW_ALLOW_CONCURRENT="false")
def _(container: Runtime) -> None:
    assert container.init(MEET).status == 200
    assert _together(container, 4, {"timeout_s": 0.3}) == [{"met": False}] * 4


@row("C3 each of many runs gets its own answer and one pair of sentinels", **CONCURRENT)
def _(container: Runtime) -> None:
    assert container.init("def main(args):\n    print('run', args['n'])\n    return args\n").status == 200
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: container.run({"n": n}).json, range(100)))
    assert found == [{"n": n} for n in range(100)]
    out, err = container.printed()
    assert err == f"{SENTINEL}\n" * 100
    lines = out.splitlines()
    assert sorted(lines) == sorted([SENTINEL] * 100 + [f"run {n}" for n in range(100)])


def _together(container: Runtime, runs: int, value: Any) -> list[Any]:
    with ThreadPoolExecutor(runs) as pool:
        return list(pool.map(lambda _: container.run(value).json, range(runs)))
