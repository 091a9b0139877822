"""A container's log as the lines of a record, in OpenWhisk's form and with its notices."""

from __future__ import annotations

from instar_controller.engines import logs
from instar_controller.ports import Log, LogLine
from instar_controller.whisk.response import Response, Status, developer_error

FINE = Response(Status.SUCCESS, {})
FAILED = developer_error("command exited")
NOW_NS = 1795315866_803_000_000


def lines(log: Log, response: Response = FINE, *, limit_mb: int = 10) -> list[str]:
    return logs.lines(log, response, limit_mb=limit_mb, now_ns=NOW_NS)


def log(*lines: LogLine, complete: bool = True, truncated: bool = False) -> Log:
    return Log(lines, is_complete=complete, is_truncated=truncated)


def test_a_line_has_its_time_padded_and_its_stream() -> None:
    said = [
        LogLine(1795315161_288_742_200, "stderr", "to stderr"),
        LogLine(1795315161_288_810_010, "stdout", "line 0"),
        LogLine(1795315161_288_813_696, "stdout", "line 1"),
        LogLine(1795315161_000_000_000, "stdout", "on the second"),
    ]
    assert lines(log(*said)) == [
        "2026-11-22T02:39:21.2887422Z   stderr: to stderr",
        "2026-11-22T02:39:21.28881001Z  stdout: line 0",
        "2026-11-22T02:39:21.288813696Z stdout: line 1",
        "2026-11-22T02:39:21Z           stdout: on the second",
    ]


def test_a_developer_error_warns_that_lines_may_be_missing() -> None:
    (line,) = lines(log(complete=False), FAILED)
    assert line.endswith(
        "Z       stderr: The action did not initialize or run as expected. Log data might be missing."
    )


def test_a_log_without_its_end_says_so() -> None:
    (line,) = lines(log(complete=False))
    assert line.endswith("stderr: There was an issue while collecting your logs. Data might be missing.")


def test_a_truncated_log_says_where_the_limit_is() -> None:
    (line,) = lines(log(truncated=True), limit_mb=1)
    assert line.endswith(
        "stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes."
    )


def test_a_limit_of_zero_means_no_lines_at_all() -> None:
    assert lines(log(LogLine(0, "stdout", "hello")), FAILED, limit_mb=0) == []
