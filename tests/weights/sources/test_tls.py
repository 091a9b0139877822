"""TLS is verified, and never left for something less."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from instar.errors import SourceError, TransientError
from instar.weights import sources
from tests.weights.sources import servers
from tests.weights.sources.conftest import Serve, read
from tests.weights.sources.servers import Answer, Server, head


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of 127.0.0.1 in one file, signed by itself."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the openssl command is not installed")
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out",
         folder / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both"
    both.write_bytes((folder / "certificate").read_bytes() + (folder / "key").read_bytes())
    return both


@pytest.fixture
def secure(certificate: Path, data: bytes) -> Iterator[Server]:
    with Server(servers.ranges(data, ETag='"1"'), tls=context(certificate)) as server:
        yield server


def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


def test_a_server_that_the_node_trusts_is_read(secure: Server, certificate: Path, data: bytes) -> None:
    reader = sources.origin(secure.url(), nbytes=len(data), environ={"SSL_CERT_FILE": str(certificate)}).reader()
    assert read(reader, 0, len(data)) == data and read(reader, 5, 5) == data[5:10]
    reader.close()
    assert {request.connection for request in secure.requests} == {1}


def test_a_server_that_nobody_vouches_for_is_final(secure: Server, data: bytes) -> None:
    with pytest.raises(SourceError, match="certificate is not accepted") as caught:
        sources.origin(secure.url(), nbytes=len(data), environ={}).reader().seek(0, 1)
    assert not isinstance(caught.value, TransientError) and not secure.requests


def test_a_certificate_is_for_one_host(secure: Server, certificate: Path, data: bytes) -> None:
    url = secure.url(host="localhost")
    with pytest.raises(SourceError, match="certificate is not accepted"):
        sources.origin(url, nbytes=len(data), environ={"SSL_CERT_FILE": str(certificate)}).reader().seek(0, 1)


def test_a_redirect_away_from_tls_is_refused(serve: Serve, certificate: Path, data: bytes) -> None:
    plain = serve(servers.ranges(data))
    leads: Answer = servers.fixed(head(302, Location=plain.url(), Content_Length=0))
    with Server(leads, tls=context(certificate)) as server:
        environ = {"SSL_CERT_FILE": str(certificate)}
        with pytest.raises(SourceError, match="from https to http, which is not followed"):
            sources.origin(server.url(), nbytes=len(data), environ=environ).reader().seek(0, 1)
    assert not plain.requests
