"""The form in which every benchmark reports: names that stay, clean standard output, honest spread."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import figures

ROOT = Path(__file__).parents[2]

NOISY = """
import os, subprocess, sys
from tests.bench import figures
with figures.reporting(["speed", "gpu"], figures.Settings.of(os.environ)) as report:
    print("a library that prints")
    subprocess.run(["echo", "a child that prints"], check=True)
    report.measure("speed", [1.0, 2.0, 3.0])
    report.miss("gpu", "no GPU here")
    report.row(name="speed", value=1.0)
    report.say("a table for people")
"""


def run_noisy(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NOISY],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )


def test_with_json_standard_output_is_exactly_one_object() -> None:
    done = run_noisy(JSON="1")
    document = json.loads(done.stdout)
    assert list(document) == ["machine", "versions", "figures", "spread", "rows", "missing"]
    assert document["figures"] == {"speed": 2.0}
    assert document["spread"] == {"speed": [1.5, 2.5]}
    assert document["rows"] == [{"name": "speed", "value": 1.0}]
    assert document["missing"] == {"gpu": "no GPU here"}
    assert "a library that prints" in done.stderr
    assert "a child that prints" in done.stderr


def test_without_json_people_get_tables() -> None:
    out = run_noisy().stdout
    assert "a table for people" in out
    assert "1.5 to 2.5" in out
    assert "no GPU here" in out


def test_a_figure_that_is_neither_measured_nor_missing_is_an_error() -> None:
    report = figures.Report(["speed", "size"])
    report.state("speed", 1)
    with pytest.raises(ValueError, match="no reason for size"):
        report.document()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_is_a_finite_number(value: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        figures.Report(["speed"]).state("speed", value)


def test_a_name_that_was_not_stated_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown figure 'sped'"):
        figures.Report(["speed"]).state("sped", 1)


def test_a_figure_is_given_once() -> None:
    report = figures.Report(["speed"])
    report.state("speed", 1)
    with pytest.raises(ValueError, match="twice"):
        report.miss("speed", "changed my mind")


def test_each_round_has_every_candidate_once_and_none_is_always_first() -> None:
    turns = list(figures.interleaved("abc", 3))
    assert [name for _, name in turns] == list("abcbcacab")
    assert [turn for turn, _ in turns] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_quartiles_of_known_samples() -> None:
    assert figures.quartiles([4, 1, 3, 2, 5]) == (2, 3, 4)
    assert figures.quartiles([7]) == (7, 7, 7)
    with pytest.raises(ValueError, match="no values"):
        figures.quartiles([])


def test_the_geometric_mean_is_the_mean_of_ratios() -> None:
    assert figures.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="above zero"):
        figures.geometric_mean([1.0, 0.0])


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    about = json.dumps(figures.machine())
    assert platform.node() not in about
    assert "cores" in about


def test_quick_and_json_are_off_unless_asked_for() -> None:
    assert figures.Settings.of({}) == figures.Settings(json=False, quick=False)
    assert figures.Settings.of({"JSON": "0", "QUICK": ""}) == figures.Settings(json=False, quick=False)
    assert figures.Settings.of({"JSON": "1", "QUICK": "1"}) == figures.Settings(json=True, quick=True)


def test_a_percentile_is_one_of_the_values() -> None:
    assert figures.percentile([3, 1, 2], 0.5) == 2
    assert figures.percentile(range(1, 101), 0.99) == 99
