"""An HTTP server on loopback that gives weights as slowly, or as badly, as a test wants, and counts what it gave.

A file is held back from some byte on until it is released, its bytes are changed, or its connections are cut: each is
set before or while somebody reads. `await_asked` waits until somebody asks for bytes that are held back.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE_BYTES = 64 * 1024
ASKED_S = 60  # a test that waits longer than this for a request waits for ever


class Source:
    """Serves the files of a folder by range. Safe for the server's threads and the test's."""

    def __init__(self, folder: Path, *, bytes_per_s: float = float("inf")) -> None:
        self.folder = folder
        self.bytes_per_s = bytes_per_s
        self.given_bytes = 0
        self._held: dict[str, int] = {}  # path to the first byte that is held back
        self._wrong: dict[str, int] = {}  # path to the byte that is changed
        self._cut: dict[str, int] = {}  # path to the byte before which connections break
        self._asked: set[str] = set()
        self._free_s = 0.0  # when the link has carried what was given
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"source": self}))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def hold(self, path: str, first: int = 0) -> None:
        """Give nothing of a file from byte `first` on."""
        with self._changed:
            self._held[path] = first
            self._asked.discard(path)

    def release(self, path: str) -> None:
        with self._changed:
            self._held.pop(path, None)
            self._changed.notify_all()

    def change(self, path: str, at: int | None) -> None:
        """Give another byte at `at` than the file has; None: the right ones again."""
        self._set(self._wrong, path, at)

    def cut(self, path: str, at: int | None) -> None:
        """Break each connection that is about to give byte `at`; None: no longer."""
        self._set(self._cut, path, at)

    def await_asked(self, path: str) -> None:
        """Return when somebody waits for bytes of a file that are held back."""
        with self._changed:
            assert self._changed.wait_for(lambda: path in self._asked, ASKED_S), f"nobody asked for {path}"

    def close(self) -> None:
        with self._changed:
            self._held.clear()
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def give(self, path: str, first: int, data: bytes) -> bytes:
        """What goes out for these bytes of a file, once they may. Raises `ConnectionError` to have it cut."""
        with self._changed:
            while first + len(data) > self._held.get(path, first + len(data)):
                self._asked.add(path)
                self._changed.notify_all()
                self._changed.wait()
            if first <= self._cut.get(path, -1) < first + len(data):
                raise ConnectionError
            at = self._wrong.get(path, -1) - first
            if 0 <= at < len(data):
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            self.given_bytes += len(data)
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s) + len(data) / self.bytes_per_s
            until_s = self._free_s
        time.sleep(max(0.0, until_s - now_s))  # this is the link
        return data

    def _set(self, faults: dict[str, int], path: str, at: int | None) -> None:
        with self._changed:
            if at is None:
                faults.pop(path, None)
            else:
                faults[path] = at


@contextlib.contextmanager
def serving(folder: Path, *, bytes_per_s: float = float("inf")) -> Iterator[Source]:
    source = Source(folder, bytes_per_s=bytes_per_s)
    thread = threading.Thread(target=source.serve, daemon=True)
    thread.start()
    try:
        yield source
    finally:
        source.close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    source: Source

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of a reader that was killed
            super().handle()

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        file = self.source.folder / path
        if not file.is_file():
            self.send_error(404)
            return
        size = file.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, end = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - first))
        self.send_header("ETag", f'"{size}"')
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        try:
            with file.open("rb") as content:
                content.seek(first)
                while first < end:
                    data = content.read(min(PIECE_BYTES, end - first))
                    self.wfile.write(self.source.give(path, first, data))
                    first += len(data)
        except OSError:  # whoever asked has gone, or is to believe that we have
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
