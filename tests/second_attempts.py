"""A test of real processes that fails is tried once more, and what failed is told all the same.

Such tests (`system`) stand on the clock, the ports and the disk of a machine that others use, and that may stand
still for seconds: one of many hundreds that fails once says more of the machine than of the code. One that fails
twice in a row is a failure. What failed once is printed whole at the end, for it is a mistake of the test or of the
code that waits to be found. Tests of decisions, with clocks and faults of their own, get no second attempt.
"""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

ATTEMPTS = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("system") is not None:
            item.add_marker(pytest.mark.flaky(reruns=ATTEMPTS - 1))


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Show each failure that was followed by another attempt."""
    again = terminalreporter.getreports("rerun")
    if not again:
        return
    terminalreporter.section("UNSTEADY: failed, and were tried once more")
    for report in again:
        terminalreporter.section(report.nodeid, sep="_", red=True, bold=True)
        report.toterminal(terminalreporter._tw)
        for name, text in report.sections:
            terminalreporter.section(name, sep="-")
            terminalreporter.write_line(text.rstrip("\n"))
