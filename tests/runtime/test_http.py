"""The HTTP side: methods, paths, sizes, and requests at the same time."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.runtime.conftest import Start
from tests.runtime.containers import Container

pytestmark = pytest.mark.system

MIB = 1 << 20


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An echo with small limits: 2 MiB to `/init`, 1 MiB to and from `/run`."""
    container = Container(tmp_path_factory.mktemp("echo"), "--max-init-mib", "2", "--max-run-mib", "1")
    assert container.init("def main(a):\n    return {'z': 'z' * a['n']} if 'n' in a else a\n").status == 200
    yield container
    container.close()


@pytest.mark.parametrize(
    "method, path, status",
    [("GET", "/run", 405), ("PUT", "/run", 405), ("GET", "/init", 405), ("GET", "/", 404), ("POST", "/nothing", 404)],
)
def test_other_methods_and_paths_are_refused_without_a_log(
    echo: Container, method: str, path: str, status: int
) -> None:
    answer = echo.send(method, path, None)
    assert answer.status == status
    assert path in answer.json["error"]
    assert (answer.out, answer.err) == ("", "")


def test_a_body_above_the_limit_is_refused_with_its_size(echo: Container) -> None:
    for path, size, limit in (("/run", 3 * MIB, MIB), ("/init", 30 * MIB, 2 * MIB)):
        answer = echo.send("POST", path, b" " * size)
        assert answer.status == 413
        assert answer.json == {"error": f"the body of {path} has {size} bytes; at most {limit} bytes are read"}
    assert echo.run({"alive": True}).json == {"alive": True}


def test_a_chunked_body_is_read_and_limited_too(echo: Container) -> None:
    def chunks(*pieces: bytes) -> Iterator[bytes]:
        yield from pieces

    assert echo.send("POST", "/run", chunks(b'{"value": ', b'{"a": 1}}')).json == {"a": 1}
    assert echo.send("POST", "/run", chunks(*[b" " * 65536] * 40)).status == 413


def test_a_result_above_the_limit_is_refused_and_the_function_lives_on(echo: Container) -> None:
    answer = echo.run({"n": 2 * MIB})
    assert (answer.status, answer.sentinels) == (502, (1, 1))
    assert "at most 1048576" in answer.json["error"]
    assert echo.run({"alive": True}).json == {"alive": True}


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(echo: Container) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    connection.putrequest("POST", "/run")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"value": {')
    connection.close()
    answer = echo.run({"alive": True})
    assert (answer.json, answer.err.count("Traceback")) == ({"alive": True}, 0)


def test_a_connection_can_be_kept(echo: Container) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", echo.port, timeout=60)) as connection:
        for number in range(3):
            connection.request("POST", "/run", json.dumps({"value": {"number": number}}))
            assert json.loads(connection.getresponse().read()) == {"number": number}


def test_runs_at_the_same_time_take_turns_and_are_never_mixed_up(container: Container) -> None:
    """Every caller gets its own value back, and no two runs are ever in the function together."""
    source = """import threading
BUSY = threading.Lock()
def main(args):
    alone = BUSY.acquire(blocking=False)
    sum(range(args['number'] * 1000))
    if alone:
        BUSY.release()
    return args | {'alone': alone}
"""
    assert container.init(source).status == 200
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda n: container.run({"number": n}), range(150)))
    assert [answer.json for answer in answers] == [{"number": n, "alone": True} for n in range(150)]
    out, err = container.printed()
    assert out.count("\n") == err.count("\n") == 150


def test_an_init_at_the_same_time_is_the_second_one(container: Container) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: container.init("def main(args):\n    return args\n"), range(4)))
    assert sorted(answer.status for answer in answers) == [200, 403, 403, 403]


def test_a_run_whose_caller_gave_up_is_finished_before_the_next(start: Start) -> None:
    """The caller of a run leaves; another caller waits its turn, and gets its own answer."""
    container = start()
    source = """import os
def main(args):
    if 'pipe' in args:
        open(args['pipe']).read()  # until somebody opens it to write
    return args
"""
    assert container.init(source).status == 200
    pipe = container.root / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TimeoutError):
        container.run({"pipe": str(pipe)}, timeout_s=0.3)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(container.run({"mine": True}).json))
    with pipe.open("w") as end:  # which waits until the run reads it, so the other one comes later
        waiting.start()
        end.write("go on")
    waiting.join()
    assert answers == [{"mine": True}]
    assert container.printed()[0].count("\n") == 2
