"""`instar push`: weights go where nodes fetch them, the package says where, and a failure leaves it as it was."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest

from instar import package
from instar.commands.main import main
from instar.errors import SourceError
from instar.weights import destinations, sources
from instar.weights.manifest import Weights
from tests.weights.sources.file_systems import Opens, registered
from tests.weights.sources.servers import Request, Server, head, part

Copy = Callable[[], Path]
Capture = pytest.CaptureFixture[str]


class Bucket:
    """A server that keeps what it is sent; a test may have it answer otherwise."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.instead: Callable[[Request], bytes | None] = lambda _: None

    def answer(self, request: Request, connection: socket.socket) -> bool:
        if (other := self.instead(request)) is not None:
            connection.sendall(other)
            return False
        path = request.path.partition("?")[0]
        if request.method == "PUT":
            self.files[path] = request.body
            connection.sendall(head(201, Content_Length=0))
        elif path in self.files:
            connection.sendall(part(self.files[path], request))
        else:
            connection.sendall(head(404, Content_Length=0))
        return True


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def server(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.delenv("NETRC", raising=False)
    with Server(bucket.answer) as running:
        yield running


@pytest.fixture
def memory() -> Iterator[Any]:
    with ExitStack() as stack:
        system = fsspec.filesystem("memory")
        stack.callback(system.rm, "/pushed", recursive=True)
        system.makedirs("/pushed")
        yield system


def push(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """What a push that succeeds says."""
    assert main(["push", *map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: Capture, *arguments: object) -> str:
    """What a push that fails says: one line."""
    assert main(["push", *map(str, arguments), "--json"]) == 1
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("instar push: ")
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def uri(folder: Path) -> str | None:
    return package.decode(package.read(folder)).weights.uri


@pytest.mark.parametrize("kind", ["http", "memory", "folder", "file url", "existing folder"])
def test_a_folder_gets_a_file_named_by_its_digest(
    copy: Copy, capsys: Capture, server: Server, memory: object, tmp_path: Path, kind: str
) -> None:
    folder = copy()
    before = package.decode(package.read(folder))
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "existing").mkdir()
    url = {
        "http": server.url("/models/"),
        "memory": "memory://pushed/",
        "folder": f"{tmp_path}/new/models/",
        "file url": f"{(tmp_path / 'with space').as_uri()}/",
        "existing folder": str(tmp_path / "existing"),
    }[kind]
    said = push(capsys, folder, url)
    assert said["uploaded"] and said["read_back"] and not said["removed"]
    assert said["uri"].endswith(f"/{before.weights.digest}.safetensors")
    after = package.decode(package.read(folder))
    assert (after.digest, after.weights.uri) == (before.digest, said["uri"])
    assert sources.read(said["uri"], limit_bytes=1 << 20, environ={}) == weights
    assert contents(folder).keys() == {"model.json", "model.safetensors"}


def test_pushing_again_uploads_nothing(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    first = push(capsys, folder, server.url("/models/"))
    was = contents(folder)
    second = push(capsys, folder, server.url("/models/"))
    assert (first["uploaded"], second["uploaded"], second["read_back"]) == (True, False, True)
    assert contents(folder) == was
    assert [request.method for request in server.requests].count("PUT") == 1
    assert main(["push", str(folder), server.url("/models/")]) == 0
    assert "there already, nothing was uploaded" in capsys.readouterr().out


def test_weights_that_are_there_are_removed_here_on_request(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    assert push(capsys, folder, server.url("/w.bin"), "--remove")["removed"]
    assert contents(folder).keys() == {"model.json"}
    assert "they are at http" in refused(capsys, folder, server.url("/w.bin"))


def test_a_person_is_told_what_to_do_next(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    assert main(["push", str(folder), server.url("/w.bin")]) == 0
    captured = capsys.readouterr()
    assert "uploaded" in captured.out and "deploy that file alone" in captured.out
    assert "uploading" in captured.err


def test_a_signature_is_not_written_down(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    said = push(capsys, folder, server.url("/w.bin?X-Signature=s3cret"))
    assert said["uri"] == uri(folder) == server.url("/w.bin")
    assert b"s3cret" not in (folder / "model.json").read_bytes()
    assert {request.path for request in server.requests} == {"/w.bin", "/w.bin?X-Signature=s3cret"}


def test_the_netrc_of_this_machine_is_used(
    copy: Copy, capsys: Capture, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    push(capsys, copy(), server.url("/w.bin"))
    basic = "Basic " + base64.b64encode(b"me:s3cret").decode()
    assert {request.headers.get("authorization") for request in server.requests} == {basic}


def test_what_cannot_be_read_back_is_said_and_kept(
    copy: Copy, capsys: Capture, server: Server, bucket: Bucket
) -> None:
    bucket.instead = lambda request: head(403, Content_Length=0) if request.method == "GET" else None
    folder = copy()
    said = push(capsys, folder, server.url("/w.bin"))
    assert said["uploaded"] and not said["read_back"]
    assert uri(folder) == server.url("/w.bin")
    assert main(["push", str(folder), server.url("/w.bin"), "--remove"]) == 1
    captured = capsys.readouterr()
    assert "could not be read back" in captured.out and "is kept" in captured.err
    assert (folder / "model.safetensors").is_file()


def _keeps_half(request: Request) -> bytes | None:
    return head(200, Content_Length=3) + b"???" if request.method == "GET" else None


FAILURES: dict[str, tuple[Callable[[Request], bytes | None], str]] = {
    "refuses": (lambda r: head(403, Content_Length=0) if r.method == "PUT" else None, "answers 403"),
    "breaks": (lambda r: head(507, Content_Length=0) if r.method == "PUT" else None, "answers 507 to PUT"),
    "hangs up": (lambda r: b"" if r.method == "PUT" else None, "cannot write weights to"),
    "leads elsewhere": (lambda r: head(307, Location="/x") if r.method == "PUT" else None, "answers 307 to PUT"),
    "loses it": (lambda r: head(200, Content_Length=0) if r.method == "PUT" else None, "does not hold"),
    "keeps something else": (_keeps_half, "does not hold"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_upload_that_fails_leaves_the_package_as_it_was(
    copy: Copy, capsys: Capture, server: Server, bucket: Bucket, failure: str
) -> None:
    folder = copy()
    was = contents(folder)
    bucket.instead, reason = FAILURES[failure]
    assert reason in refused(capsys, folder, server.url("/models/"), "--remove")
    assert contents(folder) == was


def test_an_answer_before_the_end_of_an_upload_is_heard(tmp_path: Path) -> None:
    """As of a server that refuses a file for its size before it has read it."""

    def answer(_request: Request, connection: socket.socket) -> bool:
        connection.sendall(head(413, Content_Length=0))
        return False

    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    weights = Weights(64 << 20, 64 << 20, ("0" * 64,))
    with Server(answer, most_body_bytes=0) as server:
        target = destinations.destination(server.url("/w.bin"), weights)
        with pytest.raises(SourceError, match="answers 413 to PUT"):
            destinations.put(large, target, {})


def test_a_damaged_file_is_not_pushed(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    path = folder / "model.safetensors"
    good = path.read_bytes()
    for damaged in (good[:-1], good + b"x", good[:-1] + bytes([good[-1] ^ 1])):
        path.write_bytes(damaged)
        was = contents(folder)
        refused(capsys, folder, server.url("/models/"))
        assert contents(folder) == was
    assert not server.requests


def test_another_file_is_not_written_over_unless_forced(
    copy: Copy, capsys: Capture, server: Server, bucket: Bucket
) -> None:
    folder = copy()
    for other in (b"somebody's", bytes((folder / "model.safetensors").stat().st_size)):
        bucket.files["/w.bin"] = other
        was = contents(folder)
        assert "--force" in refused(capsys, folder, server.url("/w.bin"))
        assert bucket.files["/w.bin"] == other and contents(folder) == was
    assert push(capsys, folder, server.url("/w.bin"), "--force")["uploaded"]


def test_half_an_upload_under_the_digest_is_replaced(copy: Copy, capsys: Capture, memory: Any) -> None:
    folder = copy()
    name = f"/pushed/{package.decode(package.read(folder)).weights.digest}.safetensors"
    memory.pipe(name, b"half")
    said = push(capsys, folder, "memory://pushed/")
    assert said["uploaded"] and said["read_back"]
    assert memory.cat(name) == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://me:s3cret@host/", "credentials"), ("zip::http://host/x", "chain"), ("nosuch://x/", "nosuch"),
     ("http://127.0.0.1:9/x", "refused"), ("/proc/nowhere/", "cannot write"), ("opens://x/", "cannot write")],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_named(copy: Copy, capsys: Capture, url: str, reason: str) -> None:
    folder = copy()
    was = contents(folder)
    with registered(Opens):
        said = refused(capsys, folder, url)
    assert reason in said and "s3cret" not in said and contents(folder) == was


def test_the_packages_own_file_is_no_place_to_push_to(copy: Copy, capsys: Capture, tmp_path: Path) -> None:
    folder = copy()
    (tmp_path / "link").symlink_to(folder)
    for url in (folder / "model.safetensors", tmp_path / "link" / "model.safetensors"):
        assert "own file" in refused(capsys, folder, url, "--remove", "--force")
    assert (folder / "model.safetensors").is_file()


def test_a_package_that_cannot_be_rewritten_keeps_its_file(
    copy: Copy, capsys: Capture, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy()
    was = contents(folder)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "push again" in refused(capsys, folder, server.url("/w.bin"), "--remove")
    assert contents(folder) == was


def test_what_is_no_package_is_named(capsys: Capture, tmp_path: Path) -> None:
    assert "a model package?" in refused(capsys, tmp_path, "memory://x/")


def test_what_was_pushed_loads(copy: Copy, capsys: Capture, server: Server) -> None:
    folder = copy()
    push(capsys, folder, server.url("/models/"), "--remove")
    model = package.decode(package.read(folder))
    target = destinations.destination(model.weights.uri or "", model.weights)
    assert destinations.look(target, model.weights, {}) == (destinations.Found.SAME, "")
