"""`--worker-uid` fixes the user that a function runs as."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from instar.proxy import serve
from tests.runtime.attacks import PLAIN, do
from tests.runtime.isolated import Isolated, needs_root

pytestmark = pytest.mark.system

UID = 65500


@pytest.fixture
def container() -> Iterator[Isolated]:
    container = Isolated("--worker-uid", str(UID))
    yield container
    container.close()


@needs_root
def test_a_function_with_a_user_of_its_own_reaches_only_its_own(container: Isolated) -> None:
    assert container.init(PLAIN).status == 200
    assert do(container, "value = [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]") == [UID, UID, UID, []]
    for role, pid in container.processes().items():
        if role != "worker":
            assert do(container, f"value = os.kill({pid}, 9)")[0] == "PermissionError", role
            assert do(container, f"value = open('/proc/{pid}/mem', 'rb')")[0] == "PermissionError", role
    assert do(container, "value = os.setuid(0)")[0] == "PermissionError"
    assert do(container, f"value = open({str(container.root / 'store')!r} + '/x', 'w')")[0] == "PermissionError"
    assert do(container, "value = os.listdir('..')")[0] == "PermissionError"
    assert do(container, "value = open('__main__.py', 'a').write('#')") == 1
    assert do(container, "value = open('new', 'w').write('yes')") == 3


@needs_root
def test_its_process_is_still_ended_with_the_container(container: Isolated) -> None:
    assert container.init("import signal\nsignal.signal(15, 1)\ndef main(a):\n    return a\n").status == 200
    container.process.terminate()
    assert container.await_end() == 0
    assert container.group() == []
    assert list(container.work.iterdir()) == []


def test_another_user_is_for_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    with pytest.raises(SystemExit, match="which only root can"):
        serve.main(["--port", "0", "--worker-uid", "1"])
