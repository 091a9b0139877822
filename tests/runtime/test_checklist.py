"""OpenWhisk's own checklist for a runtime, over HTTP against the running processes.

B1 to B10 are its `BasicActionRunnerTests`, P1 to P17 those of the Python runtime. Each test is one row.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.conftest import Start
from tests.runtime.containers import Container, zipped

pytestmark = pytest.mark.system

ECHO = "def main(args):\n    return args\n"
PRINTING_ECHO = """import sys
def main(args):
    print('hello stdout')
    print('hello stderr', file=sys.stderr)
    return args
"""
NOT_BUILT = {"error": "The action failed to generate or locate a binary. See logs for details."}
NOT_STARTED = {"error": "Cannot start action. Check logs for details."}
ACTIVATE = "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), 'site'))\n"
AGENT = {
    "virtualenv/bin/activate_this.py": ACTIVATE,
    "virtualenv/site/browser.py": "AGENT = 'a browser'\n",
    "__main__.py": "import browser\ndef main(args):\n    return {'agent': browser.AGENT}\nnaim = main\n",
}


def test_b1_empty_code_is_refused(empty: Container) -> None:
    assert empty.init("").status == 403


def test_b2_an_empty_body_is_refused(empty: Container) -> None:
    answer = empty.post("/init", {})
    assert answer.status == 403
    assert answer.json == {"error": "Missing main/no code to execute."}


def test_b3_a_string_is_no_result(container: Container) -> None:
    assert container.init("def main(args):\n    return 'text'\n").status == 200
    answer = container.post("/run", {})
    assert answer.status == 502
    assert answer.json == {"error": "The action did not return a dictionary or array."}
    assert answer.sentinels == (1, 1)
    assert answer.printed == ("", "")


def test_b4_a_second_init_is_refused(container: Container) -> None:
    assert container.init(ECHO).status == 200
    answer = container.init(ECHO)
    text = "Cannot initialize the action more than once."
    assert (answer.status, answer.json) == (403, {"error": text})
    assert text in answer.err
    assert answer.sentinels == (0, 0)


def test_b5_the_entry_point_has_any_name(container: Container) -> None:
    assert container.init("def niam(args):\n    return args\n", main="niam").status == 200
    answer = container.run({"string": "hello"})
    assert (answer.status, answer.json, answer.printed) == (200, {"string": "hello"}, ("", ""))


def test_b6_an_echo_logs_and_answers_each_time(container: Container) -> None:
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
    assert out.count("XXX_THE_END") == err.count("XXX_THE_END") == 4


def test_b7_source_is_unicode(container: Container) -> None:
    source = (
        "def main(args):\n    d = args['delimiter']\n    s = d + ' ☃ ' + d\n    print(s)\n    return {'winter': s}\n"
    )
    assert container.init(source).status == 200
    answer = container.run({"delimiter": "❄"})
    assert answer.json == {"winter": "❄ ☃ ❄"}
    assert answer.printed == ("❄ ☃ ❄", "")


def test_b8_the_environment_is_there_at_import(container: Container) -> None:
    source = (
        "import os\nS = os.environ['SOME_VAR']\nA = os.environ['ANOTHER_VAR']\n"
        "def main(args):\n    return {'some': S, 'another': A}\n"
    )
    assert container.init(source, env={"SOME_VAR": "xyz", "ANOTHER_VAR": ""}).status == 200
    answer = container.run()
    assert answer.json == {"some": "xyz", "another": ""}
    assert answer.printed == ("", "")


def test_b9_the_activation_context_is_in_the_environment(start: Start) -> None:
    container = start(environ={"__OW_API_HOST": "xyz"})
    names = ["api_host", "api_key", "namespace", "action_name", "action_version", "activation_id", "deadline"]
    source = f"import os\ndef main(args):\n    return {{n: os.environ['__OW_' + n.upper()] for n in {names}}}\n"
    assert container.init(source).status == 200
    context = {
        "api_key": "abc",
        "namespace": "zzz",
        "action_name": "xxx",
        "action_version": "0.0.1",
        "activation_id": "iii",
        "deadline": "123",
    }
    answer = container.run(**context)
    assert (answer.status, answer.json, answer.printed) == (200, {"api_host": "xyz", **context}, ("", ""))


def test_b10_a_large_argument_comes_back(container: Container) -> None:
    assert container.init(ECHO).status == 200
    value = {"arg": "a" * 1_048_561}
    answer = container.run(value)
    assert answer.json == value
    assert answer.headers["Content-Length"] == str(len(answer.body))


def test_p1_a_zip_imports_its_own_modules(container: Container) -> None:
    files = {
        "__main__.py": "from echo import echo\ndef niam(args):\n    return echo(args)\n",
        "echo.py": "def echo(args):\n    return {'echo': args}\n",
    }
    assert container.init(zipped(files), main="niam").status == 200
    answer = container.run({"a": 1})
    assert (answer.status, answer.json) == (200, {"echo": {"a": 1}})
    assert (answer.printed, answer.sentinels) == (("", ""), (1, 1))


def test_p2_a_zip_reads_its_own_files(container: Container) -> None:
    files = {"__main__.py": "def main(args):\n    return {'text': open('data.txt').read()}\n", "data.txt": "content"}
    assert container.init(zipped(files)).status == 200
    assert container.run().json == {"text": "content"}


def test_p3_a_zip_without_a_main_module_is_refused(empty: Container) -> None:
    answer = empty.init(zipped({"hello.py": ECHO}))
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "Zip file does not include" in answer.err
    assert (answer.printed[0], answer.sentinels) == ("", (1, 1))


def test_p4_an_exception_is_the_answer(container: Container) -> None:
    assert container.init("def main(args):\n    return {'x': 1 / 0}\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (200, {"error": "division by zero"})
    assert "Traceback" in answer.err
    assert answer.printed[0] == ""


def test_p5_a_syntax_error_is_found_at_init(empty: Container) -> None:
    answer = empty.init("def main(args:\n    return {\n")
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "SyntaxError" in answer.err
    assert answer.sentinels == (1, 1)


def test_p6_an_error_field_is_an_ordinary_answer(container: Container) -> None:
    assert container.init("def main(args):\n    return {'error': 'sorry'}\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json, answer.printed) == (200, {"error": "sorry"}, ("", ""))


def test_p7_a_missing_module_is_found_at_init(empty: Container) -> None:
    answer = empty.init("import nosuchmodule\ndef main(args):\n    return {}\n")
    assert (answer.status, answer.json) == (502, NOT_STARTED)
    assert "Traceback" in answer.err and "nosuchmodule" in answer.err
    assert answer.sentinels == (1, 1)


def test_p8_the_interpreter_is_python(container: Container) -> None:
    assert container.init("import sys\ndef main(args):\n    return {'exe': sys.executable}\n").status == 200
    assert "python" in container.run().json["exe"]


def test_p9_an_array_is_a_result(container: Container) -> None:
    assert container.init("def main(args):\n    return [1, 'two', {'three': 3}]\n").status == 200
    assert container.run().json == [1, "two", {"three": 3}]


def test_p10_an_array_is_an_argument(container: Container) -> None:
    assert container.init(ECHO).status == 200
    assert container.run([1, "two", {"three": 3}]).json == [1, "two", {"three": 3}]


def test_p11_an_exit_ends_the_process(container: Container) -> None:
    assert container.init("import sys\ndef main(args):\n    sys.exit(1)\n").status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (400, {"error": "command exited"})
    assert (answer.printed, answer.sentinels) == (("", ""), (1, 1))


def test_p12_an_exit_at_import_fails_the_init(empty: Container) -> None:
    answer = empty.init("import sys\nsys.exit(1)\n")
    assert (answer.status, answer.json) == (502, NOT_STARTED)
    assert answer.printed == ("", "Command exited abruptly during initialization.")
    assert answer.sentinels == (1, 1)


def test_p13_what_is_printed_at_import_comes_before_the_first_run(container: Container) -> None:
    source = "import os\nX = os.environ['X']\nprint(X)\ndef main(args):\n    return {}\n"
    init = container.init(source, env={"X": "xyz"})
    assert (init.status, init.sentinels) == (200, (0, 0))
    assert container.run().sentinels == (1, 1)
    assert container.printed()[0].splitlines()[0] == "xyz"


@pytest.mark.parametrize("main", ["main", "naim"])
def test_p14_a_bundled_virtualenv_is_used(container: Container, main: str) -> None:
    assert container.init(zipped(AGENT), main=main).status == 200
    assert container.run().json == {"agent": "a browser"}


def test_p15_a_virtualenv_does_not_hide_a_missing_entry_point(empty: Container) -> None:
    answer = empty.init(zipped(AGENT), main="nosuchfunction")
    assert (answer.status, answer.json) == (502, NOT_STARTED)


def test_p16_a_broken_virtualenv_is_refused(empty: Container) -> None:
    answer = empty.init(zipped({"__main__.py": ECHO, "virtualenv/bin/readme": "x"}))
    assert (answer.status, answer.json) == (502, NOT_BUILT)
    assert "Invalid virtualenv" in answer.err


def test_p17_no_code_is_refused(empty: Container) -> None:
    assert empty.init("").status == 403
