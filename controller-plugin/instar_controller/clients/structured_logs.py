"""The program's log: as lines for people, or as one JSON object a line for machines.

One rule: a line says which activation and which transaction it is about wherever that is known: from what is being
worked on (`log_context`), or from the message itself, if it names one activation.

    {"time": "2026-01-01T00:00:00.123Z", "level": "warning", "logger": "…", "message": "…",
     "activation": "<32 hex digits>", "transaction": "…", "exception": "…"}

    2026-01-01 00:00:00,123 WARNING instar_controller.…: … [activation <32 hex digits>, transaction …]
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from instar_controller import log_context

# As `activation ID`, and as the id of its record, `NAMESPACE/ID`.
_ACTIVATION = re.compile(r"(?:\bactivation |/)([0-9a-f]{32})\b")
_LONGEST = 200  # characters of a transaction's id, which callers may choose

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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
        activation, transaction = _subject(message)
        if activation:
            line["activation"] = activation
        if transaction:
            line["transaction"] = transaction
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people; what it is about stands at its end, as far as its message does not say it."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        activation, transaction = _subject(record.message)
        told = []
        if activation and activation not in record.message:
            told.append(f"activation {activation}")
        if transaction:
            told.append(f"transaction {transaction if transaction.isprintable() else ascii(transaction)}")
        return super().formatMessage(record) + (f" [{', '.join(told)}]" if told else "")


def _subject(message: str) -> tuple[str | None, str | None]:
    """The activation and the transaction that a line is about."""
    named = set(_ACTIVATION.findall(message))
    current = log_context.current()
    if current is not None and named <= {current.activation}:
        return current.activation, current.transaction[:_LONGEST]
    if len(named) != 1:  # none, or several: then it is about none of them alone
        return None, None
    (activation,) = named
    transaction = log_context.transaction_of(activation)
    return activation, None if transaction is None else transaction[:_LONGEST]


def configure_text(level: str) -> None:
    """Log lines for people to standard error."""
    _configure(TextFormatter(), level)


def configure_json(level: str) -> None:
    """Log JSON, an object a line, to standard error."""
    _configure(JsonFormatter(), level)


def _configure(formatter: logging.Formatter, level: str) -> None:
    """Libraries say only what is a warning, or worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("instar_controller").setLevel(level.upper())
