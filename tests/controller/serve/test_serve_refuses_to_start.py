"""What keeps `instar serve` from starting is one line on standard error, and exit status 1."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import WAIT_S, Server, launch

pytestmark = pytest.mark.system


def refusal(*options: str) -> str:
    process = launch("--prewarm", "none", *options)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    return err


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        said = refusal("--port", port, "--state", str(tmp_path))
    why = f"cannot listen on port {port} of 127.0.0.1: Address already in use; choose another with --port"
    assert said == f"instar serve: {why}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal("--port", "0", "--state", str(tmp_path / "file" / "state"))
    assert "cannot make the state directory" in said
    assert "Not a directory; choose another with --state" in said


def test_a_state_directory_that_cannot_be_written_to() -> None:
    said = refusal("--port", "0", "--state", "/proc/1")
    assert "/proc/1" in said and "name a directory that you may write to" in said


def test_a_key_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    said = refusal("--port", "0", "--state", str(tmp_path))
    assert f"cannot write the key to {tmp_path}/key: Is a directory" in said


def test_a_store_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "store", "Not a directory")):
        said = refusal("--port", "0", "--state", str(tmp_path / "state"), "--store", str(path))
        assert said == (
            f"instar serve: --store {path}: weights cannot be kept there: {why}; name a directory that you may "
            "write to, or 'none'\n"
        )


def test_a_store_that_cannot_be_written_to(tmp_path: Path) -> None:
    said = refusal("--port", "0", "--state", str(tmp_path / "state"), "--store", "/proc/1")
    assert "--store /proc/1: weights cannot be kept there" in said


def test_a_second_server_on_one_state_directory(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "none")
    said = refusal("--port", "0", "--state", str(server.state))
    assert "is in use by another process" in said
    server.create("unharmed")
    assert server.invoke("unharmed")[0] == 200


def test_an_address_that_others_can_reach(tmp_path: Path) -> None:
    assert "--host 0.0.0.0 is no loopback address" in refusal("--host", "0.0.0.0", "--state", str(tmp_path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--memory", "64"), "--memory 64: an action needs 128 MB at least"),
        (("--port", "70000"), "--port 70000 is no TCP port"),
        (("--keep-alive", "-1"), "--keep-alive -1 is no number of seconds"),
        (("--keep-alive", "nan"), "--keep-alive nan is no number of seconds"),
    ],
)
def test_a_setting_that_makes_no_sense(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    assert text in refusal("--state", str(tmp_path), *options)
