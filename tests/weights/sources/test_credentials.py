"""Invariant: credentials come from the node alone, go to the host they are for, and are in no message."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from instar.errors import SourceError
from instar.weights import sources
from tests.weights.sources import servers
from tests.weights.sources.conftest import Serve, read
from tests.weights.sources.servers import head

BASIC = "Basic " + base64.b64encode(b"me:s3cret").decode()


def netrc(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    return {"NETRC": str(path), "HOME": "/nowhere"}


def test_the_netrc_of_the_node_is_used_for_its_host_only(serve: Serve, data: bytes, tmp_path: Path) -> None:
    good = serve(servers.ranges(data))
    first = serve(servers.fixed(head(302, Location=good.url(host="localhost"), Content_Length=0)))
    environ = netrc(tmp_path, "machine 127.0.0.1 login me password s3cret\n")
    reader = sources.origin(first.url(), nbytes=len(data), environ=environ).reader()
    assert read(reader, 0, 10) == data[:10]
    reader.close()
    assert first.requests[0].headers["authorization"] == BASIC
    assert "authorization" not in good.requests[0].headers  # another name, another host


def test_the_home_folder_has_a_netrc_too(serve: Serve, data: bytes, tmp_path: Path) -> None:
    server = serve(servers.ranges(data))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    for home in (tmp_path, tmp_path / "other"):
        reader = sources.origin(server.url(), nbytes=len(data), environ={"HOME": str(home)}).reader()
        reader.seek(0, 1)
        reader.close()
    assert [request.headers.get("authorization") for request in server.requests] == [BASIC, None]


def test_a_default_entry_is_for_no_host(serve: Serve, data: bytes, tmp_path: Path) -> None:
    """A package, which anybody may have written, names the host: it could be anybody's."""
    server = serve(servers.ranges(data))
    environ = netrc(tmp_path, "machine elsewhere login a password b\ndefault login me password s3cret\n")
    reader = sources.origin(server.url(), nbytes=len(data), environ=environ).reader()
    reader.seek(0, 1)
    reader.close()
    assert "authorization" not in server.requests[0].headers


def _said(error: BaseException | None) -> str:
    """Its message, and those of all that a traceback would show with it."""
    text = ""
    while error is not None:
        text += repr(error)
        error = error.__cause__ if error.__suppress_context__ else error.__context__
    return text


@pytest.mark.parametrize("text", ["machine 127.0.0.1 login me password s3cret bogus\n", "\xff s3cret\n"])
def test_a_netrc_that_cannot_be_read_is_named_without_what_it_says(serve: Serve, tmp_path: Path, text: str) -> None:
    server = serve(servers.ranges(b"x"))
    environ = netrc(tmp_path, text)
    (tmp_path / "netrc").write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match="netrc") as caught:
        sources.origin(server.url(), nbytes=1, environ=environ).reader().seek(0, 1)
    assert "s3cret" not in _said(caught.value)


def test_a_netrc_that_is_named_must_be_there(serve: Serve) -> None:
    server = serve(servers.ranges(b"x"))
    with pytest.raises(SourceError, match="/nowhere/netrc"):
        sources.origin(server.url(), nbytes=1, environ={"NETRC": "/nowhere/netrc"}).reader().seek(0, 1)


@pytest.mark.parametrize(
    "url",
    ["http://me:s3cret@host/x", "https://s3cret@host/x", "s3://key:s3cret@bucket/x", "ftp://me:s3cret@host/x",
     "http://me:s3cret@/x", "HTTP://me:s3cret@host/x"],
)  # fmt: skip
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SourceError, match="credentials") as caught:
        sources.origin(url, nbytes=1, environ={})
    assert "s3cret" not in _said(caught.value)


def test_a_signature_is_sent_and_not_shown(serve: Serve) -> None:
    server = serve(servers.fixed(head(403, Content_Length=0)))
    with pytest.raises(SourceError, match="403") as caught:
        sources.origin(server.url("/x?sig=s3cret&a=b#f"), nbytes=1, environ={}).reader().seek(0, 1)
    assert server.requests[0].path == "/x?sig=s3cret&a=b"
    assert "s3cret" not in _said(caught.value)
