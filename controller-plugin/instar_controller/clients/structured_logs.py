"""The program's log: as lines for people, or as one JSON object a line for machines.

One rule: a line says which activation and which transaction it is about wherever that is known: from the log call's
`extra`, from what is being worked on (`about`), or, for the activation, from the message itself.

    {"time": "2026-01-01T00:00:00.123Z", "level": "warning", "logger": "…", "message": "…",
     "activation": "<32 hex digits>", "transaction": "…", "exception": "…"}
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

_ACTIVATION = re.compile(r"\bactivation ([0-9a-f]{32})\b")
_now: contextvars.ContextVar[tuple[str, str | None] | None] = contextvars.ContextVar("instar_work", default=None)

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextlib.contextmanager
def about(activation: str, transaction: str | None) -> Iterator[None]:
    """Whatever this thread logs meanwhile is about this activation."""
    token = _now.set((activation, transaction))
    try:
        yield
    finally:
        _now.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        activation, transaction = _subject(record, message)
        if activation:
            line["activation"] = activation
        if transaction:
            line["transaction"] = transaction
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _subject(record: logging.LogRecord, message: str) -> tuple[str | None, str | None]:
    activation: str | None = getattr(record, "activation", None)
    transaction: str | None = getattr(record, "transaction", None)
    if activation is None and (found := _ACTIVATION.search(message)):
        activation = found[1]
    current = _now.get()
    if current is not None and activation in (None, current[0]):
        activation, transaction = current[0], transaction or current[1]
    return activation, transaction


def configure_text(level: str) -> None:
    """Log lines for people to standard error."""
    _configure(logging.Formatter(TEXT_FORMAT), level)


def configure_json(level: str) -> None:
    """Log JSON, an object a line, to standard error."""
    _configure(JsonFormatter(), level)


def _configure(formatter: logging.Formatter, level: str) -> None:
    """Libraries say only what is a warning, or worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("instar_controller").setLevel(level.upper())
