"""What a location may be, before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from instar.errors import SourceError
from instar.weights import sources
from instar.weights.sources import places
from instar.weights.sources.places import Url


@pytest.mark.parametrize(
    ("location", "reason"),
    [("zip::http://host/x", "chain"), ("simplecache::s3://b/x", "chain"), ("nosuch://x/y", "knows nosuch"),
     ("simplecache://x", "not followed"), ("reference://x", "not followed"), ("zip://x", "not followed"),
     ("local:///x", "not followed"), ("file://elsewhere/x", "another host"), ("http:///x", "no host"),
     ("http://[x", "no URL"), ("http://host:99999/x", "no URL"), ("http://host/a b", "space"),
     ("http://host/a\r\nHost: other", "space or control"), ("a b://x", "neither"), ("://x", "neither"),
     ("", "no path"), ("a\0b", "no path"), ("file://", "no path")],
)  # fmt: skip
def test_what_can_never_be_read_is_refused_before_anything_is_opened(location: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        sources.origin(location, nbytes=1, environ={})


def test_a_message_has_one_line_and_an_end() -> None:
    with pytest.raises(SourceError) as caught:
        sources.origin("http://host/" + "x\n" * 10_000, nbytes=1, environ={})
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "path"),
    [("/a/b", "/a/b"), ("a b", "a b"), ("file:///a%20b", "/a b"), ("file://localhost/a", "/a"), ("FILE:///a", "/a")],
)
def test_a_path_is_a_path(location: str, path: str) -> None:
    assert places.parse(location) == Path(path)


@pytest.mark.parametrize(
    ("location", "host", "port", "target"),
    [("http://host", "host", None, "/"), ("https://Host:8443/a/b?c=d&e#f", "host", 8443, "/a/b?c=d&e"),
     ("http://[::1]:80/é", "::1", 80, "/%C3%A9"), ("http://host//a%2Fb", "host", None, "//a%2Fb")],
)  # fmt: skip
def test_a_server_is_asked_for_what_the_url_says(location: str, host: str, port: int | None, target: str) -> None:
    found = places.parse(location)
    assert isinstance(found, Url)
    assert (found.host, found.port, found.target) == (host, port, target)


def test_a_node_without_fsspec_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.delitem(sys.modules, "instar.weights.sources.remote", raising=False)
    with pytest.raises(SourceError, match="pip install fsspec"):
        sources.origin("s3://bucket/x", nbytes=1, environ={})
