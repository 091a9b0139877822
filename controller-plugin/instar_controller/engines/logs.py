"""A container's log as the lines of an activation record, in OpenWhisk's form.

One rule: whatever was not kept or could not be read, a line says so. What is counted against the limit is
the text with its line ends; stock OpenWhisk counts the JSON that Docker wraps each line in.
"""

from __future__ import annotations

from datetime import UTC, datetime

from instar_controller.ports import Log, LogLine
from instar_controller.whisk.response import LOGS_MIGHT_BE_MISSING, LOGS_NOT_COLLECTED, Response, Status

MIB = 1024 * 1024


def lines(log: Log, response: Response, *, limit_mb: int, now_ns: int) -> list[str]:
    """The record's lines. `now_ns` dates the notices."""
    if limit_mb == 0:
        return []
    notices = []
    failed = response.status in (Status.DEVELOPER_ERROR, Status.WHISK_ERROR)
    if log.is_truncated:
        limit = limit_mb * MIB
        notices.append(f"Logs were truncated because the total bytes size exceeds the limit of {limit} bytes.")
    elif not log.is_complete and not failed:
        notices.append(LOGS_NOT_COLLECTED)
    if failed:
        notices.append(LOGS_MIGHT_BE_MISSING)
    return [formatted(line) for line in [*log.lines, *(LogLine(now_ns, "stderr", text) for text in notices)]]


def formatted(line: LogLine) -> str:
    """`<RFC 3339 time, padded to 30> stdout: text`."""
    seconds, nanoseconds = divmod(line.written_ns, 1_000_000_000)
    fraction = f"{nanoseconds:09}".rstrip("0")
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    stamp = f"{moment}.{fraction}Z" if fraction else f"{moment}Z"
    return f"{stamp:<30} {line.stream}: {line.text}"
