"""Functions that a test lets run for as long as it wants: each calls the test, which hangs up."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

WAIT_S = 60.0


class Meeting:
    """Listens for functions (`clusters.MEETING`), and keeps them until it is left or told to let them go."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0), backlog=64)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._guests: list[socket.socket] = []
        self._come = 0
        self._is_over = False
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, count: int) -> None:
        """Wait until so many have come, in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._come >= count, WAIT_S), f"only {self._come} have come"

    @property
    def come(self) -> int:
        """How many have come, in all."""
        return self._come

    def let_one_go(self) -> None:
        """Let the one go that is there for longest."""
        with self._changed:
            guest = self._guests.pop(0)
        guest.close()

    def let_go(self) -> None:
        """Let those go that are there."""
        with self._changed:
            guests, self._guests = self._guests, []
        for guest in guests:
            guest.close()

    def __enter__(self) -> Meeting:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
        self._listener.close()
        self.let_go()

    def _accept(self) -> None:
        while True:
            try:
                guest, _ = self._listener.accept()
            except OSError:  # it is closed
                return
            with self._changed:
                self._come += 1
                self._guests.append(guest)
                self._changed.notify_all()
            if self._is_over:
                self.let_go()
