"""One HTTP exchange with CouchDB: pooled connections, Basic authentication, and an end in time.

One rule: an exchange ends, with an answer or with a `StoreError`, not much later than its time limit, and neither the
error nor the log ever has the password in it. What an answer means is the business of `database`.

Why not the library `couchdb`: of its client everything here would have to be replaced. Its timeout is one per session
and per system call (so that a slow trickle never ends and a long poll cannot have a limit of its own); it follows
redirects, `Authorization` included, to any host; it sends a POST again by itself when its connection breaks; it leaks
the connection of an exchange that fails; and of a bulk write it drops the errors' names. What would be left is the
quoting of URLs. So this stands on urllib3, whose pool is made for several threads; its own retries are off.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from instar_controller.errors import SettingsError, StoreError
from instar_controller.whisk.values import Json, parse

_AT_ONCE = 1 << 16  # bytes of a body that are read between two looks at the clock


@dataclass(frozen=True, slots=True)
class CouchSettings:
    """Where CouchDB is, and how long to wait for it."""

    protocol: str = "http"  # or "https": then its certificate has to be good
    host: str = "127.0.0.1"
    port: int = 5984
    username: str = ""  # "": no authentication
    password: str = field(default="", repr=False)
    connect_timeout_s: float = 3.0
    timeout_s: float = 15.0  # of an exchange as a whole; a view that has to be built first may take this long
    connections: int = 8  # that are kept open; more are made when more threads ask, and closed again

    def __post_init__(self) -> None:
        if self.protocol not in ("http", "https"):
            raise SettingsError(f"the protocol of CouchDB is {self.protocol!r}; it has to be http or https")
        if not 0 < self.port < 65536:
            raise SettingsError(f"the port of CouchDB is {self.port}; it has to be between 1 and 65535")

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    body: bytes

    def json(self) -> Json:
        """Its body. Raises `ValueError` if that is not JSON."""
        return parse(self.body)

    @property
    def error(self) -> tuple[str, str]:
        """CouchDB's own words for what went wrong, a name and a reason; empty where it is not CouchDB that speaks."""
        try:
            said = self.json()
        except ValueError:
            return "", ""
        if not isinstance(said, Mapping):
            return "", ""
        return str(said.get("error", "")), str(said.get("reason", ""))[:200]


class Connection:
    """A pool of connections to one CouchDB. Safe for several threads."""

    def __init__(self, settings: CouchSettings) -> None:
        self.settings = settings
        pool = urllib3.HTTPSConnectionPool if settings.protocol == "https" else urllib3.HTTPConnectionPool
        self._pool = pool(settings.host, settings.port, maxsize=settings.connections, retries=False)
        self._headers = {"Accept": "application/json", "User-Agent": "instar"}
        if settings.username:
            credentials = f"{settings.username}:{settings.password}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"

    def __repr__(self) -> str:
        return f"Connection({self.settings.url})"

    def exchange(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> Reply:
        """Ask once; each element of `path` is one segment of the URL, whatever is in it.

        A GET is asked a second time if its connection turns out to have been closed. Raises `StoreError` if no whole
        answer came within `timeout_s` (None: what the settings say): whether anything was done then, nobody knows.
        """
        target = "/" + "/".join(quote(segment, safe="") for segment in path)
        if query:
            target += "?" + urlencode(query)
        limit_s = self.settings.timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        headers = self._headers if body is None else {**self._headers, "Content-Type": content_type}
        try:
            try:
                return self._once(method, target, headers, body, deadline)
            except ProtocolError:
                if method != "GET":
                    raise
                return self._once(method, target, headers, body, deadline)
        except (HTTPError, OSError) as error:
            why = _out_of_time(limit_s) if time.monotonic() >= deadline else _short(error)
            raise StoreError(f"CouchDB at {self.settings.url} gave no answer to {method} {target}: {why}") from None

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        self._pool.close()

    def _once(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> Reply:
        left_s = max(0.001, deadline - time.monotonic())
        response = self._pool.urlopen(
            method,
            target,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=min(left_s, self.settings.connect_timeout_s), read=left_s),
        )
        is_read = False
        try:
            parts = []
            while part := response.read1(_AT_ONCE):
                parts.append(part)
                if time.monotonic() >= deadline:
                    raise TimeoutError
            is_read = True
            return Reply(response.status, b"".join(parts))
        finally:
            if is_read:
                response.release_conn()
            else:
                response.close()


def _out_of_time(limit_s: float) -> str:
    return f"not within {limit_s:g} s; is it overloaded?"


def _short(error: Exception) -> str:
    """What a library's exception says, without the objects that it was thrown from."""
    cause: BaseException = error
    while isinstance(inner := (cause.__cause__ or cause.__context__), Exception):
        cause = inner
    return f"{str(cause)[:200] or type(cause).__name__}; is it up?"
