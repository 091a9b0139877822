"""The common form of every benchmark, so that figures can be followed over time and across machines.

The rule: a benchmark states the names of its figures first, and ends with each of them either measured or
missing with a reason. People get a table on standard output and a progress bar on standard error; with `JSON=1`
standard output is exactly one JSON object, whatever the libraries and child processes of the benchmark print.

It does not judge: no thresholds, no targets. It does not time anything either; benchmarks do.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
PACKAGES = ("instar", "torch", "numpy")  # whose versions every report states


@dataclass(frozen=True, slots=True)
class Settings:
    """What the caller asked for. Read the environment once, in `main`, and pass this on."""

    json: bool = False  # standard output is one JSON object instead of tables
    quick: bool = False  # end within a minute: fewer models and repeats, the same names

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        return cls(json=environ.get("JSON", "") not in ("", "0"), quick=environ.get("QUICK", "") not in ("", "0"))


class Report:
    """What one benchmark has found so far. The benchmark owns it; `reporting` prints it at the end."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.figures: dict[str, float] = {}
        self.spread: dict[str, tuple[float, float]] = {}
        self.rows: list[dict[str, Any]] = []
        self.missing: dict[str, str] = {}
        self.texts: list[str] = []

    def measure(self, name: str, values: Iterable[float]) -> None:
        """The figure `name` is the median of `values`; their quartiles are its spread."""
        self.place(name, quartiles(values))

    def place(self, name: str, lower_middle_upper: tuple[float, float, float]) -> None:
        """The figure `name` and its spread, made of several quartiles: a geometric mean over models, say."""
        lower, middle, upper = lower_middle_upper
        self._set(name, middle)
        self.spread[name] = (lower, upper)

    def state(self, name: str, value: float) -> None:
        """The figure `name` is this one number: a count or a maximum, which has no spread."""
        self._set(name, value)

    def miss(self, name: str, why: str) -> None:
        """The figure `name` could not be measured here."""
        self._claim(name)
        self.missing[name] = why

    def row(self, **measurement: Any) -> None:
        """One raw measurement, as it was taken."""
        self.rows.append(measurement)

    def say(self, text: str) -> None:
        """A table or a remark for people; left out of the JSON object."""
        self.texts.append(text)

    def document(self) -> dict[str, Any]:
        """The JSON object. Raises `ValueError` where a stated name has neither a figure nor a reason."""
        silent = [name for name in self.names if name not in self.figures and name not in self.missing]
        if silent:
            raise ValueError(f"no figure and no reason for {', '.join(silent)}: measure it or call `miss`")
        return {
            "machine": machine(),
            "versions": versions(PACKAGES),
            "figures": {name: self.figures[name] for name in self.names if name in self.figures},
            "spread": {name: list(self.spread[name]) for name in self.names if name in self.spread},
            "rows": self.rows,
            "missing": self.missing,
        }

    def _set(self, name: str, value: float) -> None:
        self._claim(name)
        if not math.isfinite(value):
            raise ValueError(f"figure {name!r} is {value}, which is not a number: call `miss` with the reason")
        self.figures[name] = value

    def _claim(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"unknown figure {name!r}; this benchmark stated {', '.join(self.names)}")
        if name in self.figures or name in self.missing:
            raise ValueError(f"figure {name!r} is given twice")


@contextmanager
def reporting(names: Sequence[str], settings: Settings) -> Iterator[Report]:
    """Run a benchmark and print its report at the end; nothing is printed when the benchmark raises."""
    report = Report(names)
    if settings.json:
        with _standard_output_kept_clean() as out:
            yield report
            document = report.document()
            out.write(json.dumps(document, allow_nan=False) + "\n")
        return
    yield report
    document = report.document()
    for text in report.texts:
        print(text, end="\n\n")
    print(_summary(document))


def progress(total: int, label: str) -> tqdm[Any]:
    """A progress bar on standard error. Use it in a `with`; call `update()` for each step done."""
    return tqdm(total=total, desc=label, file=sys.stderr, dynamic_ncols=True, leave=False)


def interleaved(candidates: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """A B C, B C A, C A B, …: every round has each candidate once, and none is always the first.

    What slows the machine down for a while then hits all candidates alike: a ratio within a round stays fair.
    """
    for turn in range(rounds):
        start = turn % len(candidates)
        for candidate in (*candidates[start:], *candidates[:start]):
            yield turn, candidate


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile (linear between neighbours). Raises `ValueError` on none."""
    samples = sorted(values)
    if not samples:
        raise ValueError("no values to take quartiles of")
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    lower, middle, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return lower, middle, upper


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    samples = sorted(values)
    return samples[math.ceil(share * len(samples)) - 1]


def geometric_mean(values: Iterable[float]) -> float:
    """The mean for ratios. Raises `ValueError` on a value that is not above zero, or on none."""
    samples = list(values)
    if not samples or min(samples) <= 0:
        raise ValueError(f"a geometric mean needs values above zero, got {samples}")
    return math.exp(math.fsum(map(math.log, samples)) / len(samples))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [[str(cell) for cell in header], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def machine() -> dict[str, Any]:
    """What the figures were taken on: nothing that tells which machine it is."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": platform.system(),
        "kernel": platform.release(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@contextmanager
def _standard_output_kept_clean() -> Iterator[Any]:
    """Until the end, descriptor 1 is standard error, for child processes too; yields the real one."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        try:
            yield out
        finally:
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)


def _summary(document: Mapping[str, Any]) -> str:
    def spread(name: str) -> str:
        if name not in document["spread"]:
            return ""
        lower, upper = document["spread"][name]
        return f"{_cell(lower)} to {_cell(upper)}"

    lines = [(name, value, spread(name)) for name, value in document["figures"].items()]
    lines += [(name, "missing", why) for name, why in document["missing"].items()]
    about = document["machine"]
    hardware = f"{about['cpu']}, {about['cores']} cores, {about['memory_mib']} MiB"
    software = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    figures = table(("figure", "median", "quartiles"), lines)
    return f"{figures}\n\n{hardware}, {about['system']} {about['kernel']}\n{software}"


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
