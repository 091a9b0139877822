"""What a function does to its container: what it answers, what it leaves in the logs, and who survives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runtime.conftest import Start
from tests.runtime.containers import SENTINEL, Container, await_end, zipped

pytestmark = pytest.mark.system

# One function for every behaviour that a container survives: what it does is in its argument.
OBEDIENT = """
import os, sys, subprocess, threading
def main(args):
    return eval(args['do'], globals())
"""


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Any:
    container = Container(tmp_path_factory.mktemp("obedient"))
    assert container.init(OBEDIENT).status == 200
    yield container
    container.close()


@pytest.mark.parametrize(
    "do, body",
    [
        ("None", None),
        ("{}", {}),
        ("[]", []),
        ("(1, 2)", [1, 2]),
        ("{1: 'one', None: 'none'}", {"1": "one", "null": "none"}),
        ("{'s': '\\u2028\\n\\0☃'}", {"s": "\u2028\n\0☃"}),
        ("{'error': 'sorry', 'extra': 1}", {"error": "sorry", "extra": 1}),
        ("{'n': 1 / 0}", {"error": "division by zero"}),
        ("{}['k']", {"error": "'k'"}),
    ],
)
def test_an_answer_is_its_value_as_json(obedient: Container, do: str, body: Any) -> None:
    answer = obedient.run({"do": do})
    assert (answer.status, answer.json, answer.sentinels) == (200, body, (1, 1))
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Content-Type"] == "application/json"
    assert "Transfer-Encoding" not in answer.headers


@pytest.mark.parametrize("do", ["'text'", "5", "True", "object()"])
def test_what_is_no_object_or_array_is_refused(obedient: Container, do: str) -> None:
    answer = obedient.run({"do": do})
    assert (answer.status, answer.sentinels) == (502, (1, 1))
    assert answer.json == {"error": "The action did not return a dictionary or array."}


@pytest.mark.parametrize(
    "do, says",
    [
        ("{'s': {1, 2}}", "set is not JSON serializable"),
        ("{'n': float('nan')}", "not JSON compliant"),
        ("{'s': '\\ud800'}", "surrogates not allowed"),
        ("(l := []) or l.append(l) or l", "Circular reference"),
        ("(lambda: (yield))()", "did not return"),
        ("type('A', (), {'f': staticmethod(__import__('asyncio').sleep)}).f(0)", "is async"),
    ],
)
def test_a_result_that_is_not_json_is_refused_and_the_function_lives_on(
    obedient: Container, do: str, says: str
) -> None:
    answer = obedient.run({"do": do})
    assert (answer.status, answer.sentinels) == (502, (1, 1))
    assert says in answer.json["error"]
    assert obedient.run({"do": "{'alive': True}"}).json == {"alive": True}


def test_a_refused_result_is_explained_in_the_log_too(obedient: Container) -> None:
    answer = obedient.run({"do": "{'s': {1}}"})
    assert answer.err == f"{answer.json['error']}\n{SENTINEL}\n"


def test_a_traceback_is_the_users_own(obedient: Container) -> None:
    """Without the runtime's frames, and with the empty line that the stock runtime prints after it."""
    answer = obedient.run({"do": "[][0]"})
    begin, *frames, error, empty, sentinel = answer.err.splitlines()
    assert begin == "Traceback (most recent call last):"
    assert (error, empty, sentinel) == ("IndexError: list index out of range", "", SENTINEL)
    places = [line for line in frames if line.startswith("  File ")]
    assert len(places) == 2 and "in main" in places[0] and '"<string>"' in places[1]


def test_a_function_that_closes_standard_error_still_answers(container: Container) -> None:
    source = "import sys\ndef main(args):\n    sys.stderr.close()\n    return 1 / args['by']\n"
    assert container.init(source).status == 200
    assert container.run({"by": 0}).json == {"error": "division by zero"}


def test_an_exception_whose_text_cannot_be_had_is_an_answer(obedient: Container) -> None:
    do = "(_ for _ in ()).throw(type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})())"
    assert obedient.run({"do": do}).json == {"error": "Odd"}


def test_a_large_result_comes_back_whole(obedient: Container) -> None:
    answer = obedient.run({"do": "{'t': 'z' * 20_000_000}"})
    assert len(answer.json["t"]) == 20_000_000
    assert answer.headers["Content-Length"] == str(len(answer.body))


def test_an_open_line_is_closed_before_the_sentinel(obedient: Container) -> None:
    answer = obedient.run({"do": "sys.stdout.write('out') and sys.stderr.write('err') and {}"})
    assert answer.out == f"out\n{SENTINEL}\n"
    assert answer.err == f"err\n{SENTINEL}\n"


def test_a_subprocess_prints_into_the_same_log(obedient: Container) -> None:
    answer = obedient.run({"do": "subprocess.run(['sh', '-c', 'echo out; echo err >&2']) and {}"})
    assert answer.printed == ("out", "err")


def test_what_c_code_printed_is_flushed(obedient: Container) -> None:
    answer = obedient.run({"do": "__import__('ctypes').CDLL(None).puts(b'from C') and {}"})
    assert answer.out == f"from C\n{SENTINEL}\n"


def test_standard_input_is_empty(obedient: Container) -> None:
    assert obedient.run({"do": "{'read': sys.stdin.read(5)}"}).json == {"read": ""}


def test_a_lone_surrogate_can_be_printed(obedient: Container) -> None:
    assert obedient.run({"do": "print('\\ud800') or {}"}).printed == ("\\ud800", "")


def test_context_fields_become_variables_and_stay(obedient: Container) -> None:
    fields = {"api_host": "h", "some_new_field": "v", "camelCase": "c", "number": 5, "object": {"a": [1]}}
    do = "{k: os.environ.get('__OW_' + k) for k in ['API_HOST', 'SOME_NEW_FIELD', 'CAMELCASE', 'NUMBER', 'OBJECT']}"
    wanted = {"API_HOST": "h", "SOME_NEW_FIELD": "v", "CAMELCASE": "c", "NUMBER": "5", "OBJECT": '{"a":[1]}'}
    assert obedient.run({"do": do}, **fields).json == wanted
    assert obedient.run({"do": do}).json == wanted


def test_a_forked_child_that_returns_does_not_answer(obedient: Container) -> None:
    for _ in range(20):
        do = "(lambda pid: os.waitpid(pid, 0) and {'parent': True} if pid else {'child': True})(os.fork())"
        assert obedient.run({"do": do}).json == {"parent": True}


def test_numpy_and_torch_compute_in_parallel_after_the_fork(obedient: Container) -> None:
    do = (
        "[__import__('torch').get_num_threads(), float(__import__('torch').ones(600, 600).mm("
        "__import__('torch').ones(600, 600)).sum()), float((__import__('numpy').ones((600, 600)) @ "
        "__import__('numpy').ones((600, 600))).sum())]"
    )
    threads, by_torch, by_numpy = obedient.run({"do": do}).json
    assert threads >= 1
    assert by_torch == by_numpy == 600**3


def test_files_are_read_relative_to_the_actions_directory(container: Container) -> None:
    source = """import os, sys
def main(args):
    here = os.path.dirname(__file__)
    return {'cwd': os.getcwd() == here, 'pwd': os.environ['PWD'] == here, 'n': __name__, 'argv': len(sys.argv)}
"""
    assert container.init(source).status == 200
    assert container.run().json == {"cwd": True, "pwd": True, "n": "main__", "argv": 1}


def test_state_lives_as_long_as_the_container(container: Container) -> None:
    assert container.init("N = 0\ndef main(args):\n    global N\n    N += 1\n    return {'n': N}\n").status == 200
    assert [container.run().json["n"] for _ in range(3)] == [1, 2, 3]


DEATHS = {
    "exits at once": "os._exit(3)",
    "is killed": "os.kill(os.getpid(), 9)",
    "crashes": "ctypes.string_at(0)",
    "is interrupted": "raise KeyboardInterrupt",
    "leaves with a text": "sys.exit('bye')",
    "leaves with children": "subprocess.Popen(['sleep', '600'], start_new_session=True) and sys.exit()",
    "closes every descriptor": "os.closerange(3, 1000)",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_function_that_dies_in_a_run_is_gone_for_good(container: Container, death: str) -> None:
    source = f"import ctypes, os, subprocess, sys\ndef main(args):\n    print('before')\n    {DEATHS[death]}\n"
    assert container.init(source).status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (400, {"error": "command exited"})
    assert answer.printed[0] == "before"
    assert answer.sentinels == (1, 1)
    for _ in range(2):
        later = container.run()
        assert (later.status, later.json) == (500, {"error": "no action defined yet"})
        assert (later.out, later.err) == ("", "")
    assert container.init("def main(args):\n    return args\n").status == 403
    # What it left behind went with it: executor and zygote are alone.
    assert set(container.processes()) == {"master", "proxy", "zygote", "executor"}
    assert len(container.group()) == 4


def test_a_function_that_dies_between_runs_is_noticed_at_the_next(container: Container) -> None:
    source = """import os, threading
called = threading.Event()
threading.Thread(target=lambda: called.wait() and os._exit(7)).start()
def main(args):
    called.set()
    return {'pid': os.getpid()}
"""
    assert container.init(source).status == 200
    answer = container.run()
    if answer.status == 200:  # it may also die before it has answered
        await_end(answer.json["pid"])
        late = container.run()
        assert (late.status, late.json) == (500, {"error": "command exited"})
        assert (late.out, late.err) == ("", "")
    assert container.run().json == {"error": "no action defined yet"}


FAILED_INITS: dict[str, tuple[str | bytes, str]] = {
    "has no such function": ("def other(args):\n    return {}\n", "cannot import name 'main'"),
    "has something else of that name": ("main = 5\n", "is not a function but a int"),
    "is blank": (" \n", "cannot import name 'main'"),
    "raises": ("raise ValueError('at import')\n", "ValueError: at import"),
    "is indented wrongly": ("def main(args):\nreturn {}\n", "IndentationError"),
    "has a null byte": ("x = 1\0\n", "null bytes"),
    "is too deep for the compiler": ("x = " + "-" * 300_000 + "1\n", "Error"),
    "kills itself": ("import os\nos.kill(os.getpid(), 9)\n", "Command exited abruptly"),
    "has an unmet requirement": (
        zipped({"__main__.py": "", "requirements.txt": "# needs\nnumpy\nno-such-package>=2 # here\n"}),
        "requirements.txt asks for no-such-package>=2, which the image does not have",
    ),
    "climbs out of its directory": (zipped({"__main__.py": "", "../evil": ""}), "outside the action's directory"),
    "is a damaged archive": (zipped({"__main__.py": "x" * 1000})[:60], "damaged"),
}


def test_an_init_that_fails_leaves_room_for_another(container: Container) -> None:
    for what, (code, says) in FAILED_INITS.items():
        answer = container.init(code)
        assert answer.status == 502, what
        assert set(answer.json) == {"error"}
        assert says in answer.err, what
        assert answer.sentinels == (1, 1), what
        assert answer.printed[0] == ""
        assert container.run().json == {"error": "no action defined yet"}
        assert [path.name for path in container.work.glob("*/*")] == [], what
        assert set(container.processes()) == {"master", "proxy", "zygote", "executor"}, what
    assert container.init("def main(args):\n    return {'second': True}\n").status == 200
    assert container.run().json == {"second": True}


def test_requirements_that_are_met_are_no_obstacle(container: Container) -> None:
    files = {
        "__main__.py": "import shipped\ndef main(args):\n    return {'v': shipped.V}\n",
        "requirements.txt": "--index-url https://example.org\nnumpy>=1\ntorch\nshipped==1.2\nw; os_name=='nt'\n",
        "shipped.py": "V = 1\n",
        "shipped-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: shipped\nVersion: 1.2\n",
    }
    assert container.init(zipped(files)).status == 200
    assert container.run().json == {"v": 1}


def test_the_images_environment_reaches_the_function(start: Start) -> None:
    container = start(environ={"IMAGE_VAR": "seen", "__OW_API_HOST": "http://host:80"})
    source = "import os\ndef main(args):\n    return dict(os.environ)\n"
    assert container.init(source, env={"IMAGE_VAR": "overridden"}).status == 200
    found = container.run().json
    assert (found["IMAGE_VAR"], found["__OW_API_HOST"]) == ("overridden", "http://host:80")
    assert found["PATH"]


def test_a_body_that_is_no_run_leaves_the_function_alone(obedient: Container) -> None:
    bodies: list[tuple[bytes, str]] = [
        (b'{"value":', "Expecting value"),
        (b"", "Expecting value"),
        (b"[1, 2]", "the body is not an object"),
        (b"[" * 100_000, "recursion"),
        (b'{"value": {}, "a=b": "c"}', "cannot be an environment variable"),
        (b'{"value": {}, "a": "\\u0000"}', "cannot be an environment variable"),
    ]
    for body, says in bodies:
        answer = obedient.send("POST", "/run", body)
        assert (answer.status, answer.sentinels) == (400, (1, 1))
        assert says in answer.json["error"]
    assert obedient.run({"do": "{'alive': True}"}).json == {"alive": True}


def test_a_pretty_printed_body_is_taken(obedient: Container) -> None:
    body = json.dumps({"value": {"do": "{'a': 1}"}}, indent=2).encode()
    assert obedient.send("POST", "/run", body).json == {"a": 1}


def test_a_function_that_forges_answers_loses_its_process(container: Container) -> None:
    """It finds the proxy's socket and answers twice; the second answer never reaches another caller."""
    source = """import gc, os, socket
from instar.action.channel import Channel
from instar.action.frames import Finished, encode_message
def main(args):
    asked = next(one._asked for one in gc.get_objects() if isinstance(one, Channel))
    for number in map(int, os.listdir('/proc/self/fd')):
        try:
            end = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if end.type == socket.SOCK_STREAM:
            end.sendall(b''.join(encode_message(Finished(b'{"forged": true}'), asked)) * 2)
    return {'real': True}
"""
    assert container.init(source).status == 200
    assert container.run().json == {"forged": True}
    late = container.run()
    assert (late.status, late.json) == (500, {"error": "command exited"})


def test_an_answer_that_was_written_before_its_question_is_no_answer(container: Container) -> None:
    """A thread of the function writes it between two runs, in time to be found before the next question's answer."""
    source = """import os, socket, threading
from instar.action.frames import Finished, encode_message
def forge():
    start.wait()
    for number in map(int, os.listdir('/proc/self/fd')):
        try:
            end = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if end.type == socket.SOCK_STREAM:
            end.sendall(b''.join(encode_message(Finished(b'{"forged": true}'), 0)))
start = threading.Event()
threading.Thread(target=forge, daemon=True).start()
def main(args):
    start.set()
    threading.Event().wait()
"""
    assert container.init(source).status == 200
    answer = container.run()
    assert (answer.status, answer.json) == (400, {"error": "command exited"})


def test_a_program_that_the_function_executes_inherits_only_its_streams(obedient: Container) -> None:
    answer = obedient.run({"do": "os.system('ls /proc/self/fd') or {}"})
    assert set(answer.printed[0].split()) == {"0", "1", "2", "3"}  # the last is ls's own
