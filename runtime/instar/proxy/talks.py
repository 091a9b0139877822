"""The proxy's end of its talks with the executor about what the container is to become.

The rule: what the executor has not agreed to has not begun. If it dies before it agrees nothing was touched; if it
dies later there is no model to go on with, and that is all: the next executor loads.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from instar.errors import ProtocolError
from instar.executor import proposals
from instar.executor.proposals import Agreed, Answer, Declined, Outcome, Proposal
from instar.proxy.zygote import Zygote


class NotAgreed(Exception):
    """The executor does not agree, and says why; nothing was touched."""


class Talks:
    """One proposal. Owns its socket, which is closed at the end of the block."""

    def __init__(self, zygote: Zygote, proposal: Proposal) -> None:
        """Raises `ProcessError` if the zygote has gone, and the container with it."""
        self._socket, theirs = socket.socketpair()
        self._lines = self._socket.makefile("rb")
        self._proposal = proposals.encode(proposal)
        with theirs:
            zygote.propose(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def agree(self) -> None:
        """Return when the executor has agreed and begun. Raises `NotAgreed`."""
        try:
            self._socket.sendall(self._proposal)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise NotAgreed("the executor has just ended; ask again") from error
        match self._next():
            case Agreed():
                return
            case Declined(reason):
                raise NotAgreed(reason)
            case None:
                raise NotAgreed("the executor has just ended; ask again")
            case other:
                raise ProtocolError(f"the executor answered a proposal with {type(other).__name__}")

    def outcome(self) -> Outcome:
        """What became of what was agreed on."""
        match self._next():
            case Outcome() as outcome:
                return outcome
            case None:
                return Outcome(None, "the executor ended while it transformed", 0)
            case other:
                raise ProtocolError(f"the executor ended a proposal with {type(other).__name__}")

    def _next(self) -> Answer | None:
        try:
            line = self._lines.readline(proposals.LINE_BYTES)
        except OSError:  # reset, with an answer still on its way
            return None
        return proposals.decode_answer(line) if line.endswith(b"\n") else None
