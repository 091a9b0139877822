"""What a program writes while it runs: events on standard output, one JSON object a line, and its log on the other
stream. Both are read as they come, so that no full pipe stops it."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import Any

WAIT_S = 60.0  # for anything that is sure to happen


class Outputs:
    """Of a process with both streams on pipes, as text. `heard` is told of each event, by a thread of its own."""

    def __init__(
        self, process: subprocess.Popen[str], heard: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> None:
        self._process = process
        self._heard = heard
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()  # None: there are no more
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def event(self, name: str, *, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next event of that name; those before it are passed over."""
        why = f"in {wait_s} s"
        try:
            while (event := self._events.get(timeout=wait_s)) is not None:
                if event["event"] == name:
                    return event
            self._events.put(None)  # for the next one who asks
            self._readers[1].join(WAIT_S)
            why = "before it ended"
        except queue.Empty:
            pass
        raise AssertionError(f"no event '{name}' {why}; its log:\n" + "\n".join(self.log))

    def close(self) -> None:
        """Read to the end of both streams. The process has ended, or is about to."""
        assert self._process.stdout is not None and self._process.stderr is not None
        for reader, stream in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
            reader.join(WAIT_S)
            stream.close()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._heard(event)
            self._events.put(event)
        self._events.put(None)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip("\n"))
