"""Who a container's processes are, and what its user may write: started as root, as somebody else, read-only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image.conftest import Start
from tests.image.containers import ImageContainer

pytestmark = pytest.mark.system

RUNTIME_UID = 65532
HANDLER = """
import os
def main(args):
    try:
        return {'value': eval(args['do'], globals())}
    except Exception as error:
        return {'refused': type(error).__name__}
"""
# Every file and folder that a user may write, but for those of no disk.
WRITABLE = """[path for folder, _, files in os.walk('/') if not folder.startswith(('/proc', '/sys', '/dev/pts'))
for path in [folder, *(os.path.join(folder, name) for name in files)]
if not os.path.islink(path) and os.access(path, os.W_OK)]"""
DEVICES = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "core")}
EVERYBODYS = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock"}
ISOLATED = {"master", "proxy", "zygote", "executor"}


def evaluate(container: ImageContainer, expression: str) -> object:
    answer = container.run({"do": expression})
    assert answer.status == 200, answer
    return answer.json.get("value", answer.json.get("refused"))


def uids(container: ImageContainer) -> dict[str, int]:
    """The effective user of each process."""
    status = {role: Path(f"/proc/{pid}/status").read_text() for role, pid in container.processes().items()}
    return {role: int(text.partition("\nUid:")[2].split()[1]) for role, text in status.items()}


def test_started_as_root_nothing_stays_root(container: ImageContainer) -> None:
    assert container.init(HANDLER).status == 200
    users = uids(container)
    worker = users.pop("worker")
    assert users == dict.fromkeys(ISOLATED, RUNTIME_UID)
    assert worker not in (0, RUNTIME_UID)
    assert container.printed() == ("", "")


def test_a_function_can_write_to_its_own_and_everybodys_places_only(container: ImageContainer) -> None:
    assert container.init(HANDLER).status == 200
    written = evaluate(container, WRITABLE)
    assert isinstance(written, list)
    assert {"/tmp"} <= set(written) - DEVICES <= EVERYBODYS
    assert evaluate(container, "os.access('.', os.W_OK)") is True
    assert str(evaluate(container, "os.getcwd()")).startswith("/tmp/")


def test_started_as_somebody_else_it_serves_and_says_so(start: Start) -> None:
    container = start(user="1000:1000")
    assert container.init(HANDLER).status == 200
    assert set(uids(container).values()) == {1000}
    assert evaluate(container, "[os.getuid(), os.getgid()]") == [1000, 1000]
    out, err = container.printed()
    line = "instar-runtime: started as user 1000, not as root: the function runs as its runtime's user"
    assert err.splitlines()[0] == line
    assert "user 1000" not in out


def test_on_a_read_only_file_system_it_needs_a_place_for_temporary_files(start: Start) -> None:
    container = start(read_only=True, tmpfs={"/tmp": "exec"})
    assert container.init(HANDLER).status == 200
    assert evaluate(container, "open('new', 'w').write('yes')") == 3
    assert evaluate(container, "open('/var/lib/instar/x', 'w')") in ("PermissionError", "OSError")


def test_without_one_it_ends_and_says_why(start: Start) -> None:
    container = start(read_only=True)
    assert container.await_end() == 1
    assert "cannot make a working directory" in container.printed()[1]


def test_without_the_capabilities_to_isolate_it_ends_and_says_why(start: Start) -> None:
    container = start(cap_drop=["ALL"])
    assert container.await_end() == 1
    assert "capabilities" in container.printed()[1]
