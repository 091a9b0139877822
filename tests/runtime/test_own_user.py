"""With `--worker-uid`, the kernel keeps a function away from the processes and files that it must not touch."""

from __future__ import annotations

import os

import pytest

from instar.proxy import serve
from tests.runtime.conftest import Start
from tests.runtime.containers import zipped

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user"),
]

UID = 65533

HANDLER = """
import os
def main(args):
    try:
        return {'value': eval(args['do'], globals())}
    except Exception as error:
        return {'refused': type(error).__name__}
"""


def test_a_function_with_a_user_of_its_own_reaches_only_its_own(start: Start) -> None:
    container = start("--worker-uid", str(UID))
    container.root.chmod(0o755)
    for path in (container.work, *container.root.parents):
        path.chmod(path.stat().st_mode | 0o011)  # pytest keeps its directories to itself
    assert container.init(zipped({"__main__.py": HANDLER, "a/data.txt": "x"})).status == 200

    def evaluate(expression: str) -> object:
        answer = container.run({"do": expression}).json
        return answer.get("value", answer.get("refused"))

    assert evaluate("[os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]") == [UID, UID, UID, []]
    for role, pid in container.processes().items():
        if role != "worker":
            assert evaluate(f"os.kill({pid}, 9)") == "PermissionError", role
            assert evaluate(f"open('/proc/{pid}/mem', 'rb')") == "PermissionError", role
    assert evaluate("os.setuid(0)") == "PermissionError"
    assert evaluate(f"open({str(container.root / 'store')!r} + '/x', 'w')") in (
        "PermissionError",
        "FileNotFoundError",
    )
    assert evaluate("os.listdir('..')") == "PermissionError"
    assert evaluate("open('a/data.txt', 'a').write('y')") == 1
    assert evaluate("open('new', 'w').write('yes')") == 3
    assert evaluate("open('new').read() + open('a/data.txt').read()") == "yesxy"


def test_its_process_is_still_ended_with_the_container(start: Start) -> None:
    container = start("--worker-uid", str(UID))
    for path in (container.work, *container.root.parents, container.root):
        path.chmod(path.stat().st_mode | 0o011)
    assert container.init("import signal\nsignal.signal(15, 1)\ndef main(a):\n    return a\n").status == 200
    container.process.terminate()
    assert container.await_end() == 0
    assert container.group() == []
    assert list(container.work.iterdir()) == []


def test_another_user_is_for_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    with pytest.raises(SystemExit, match="which only root can"):
        serve.main(["--port", "0", "--worker-uid", "1"])
