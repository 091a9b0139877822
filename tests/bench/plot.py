"""A picture of a load: a lane for each kind of work, time from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import timeline
from tests.bench.timeline import Interval

KINDS = ("structure", "read", "digest", "write", "bind", "stage", "wait")
COLOURS = ("#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#d62728", "#dddddd")
GAP = 0.5  # between kinds, in lanes


def draw(path: Path, loads: Mapping[str, tuple[int, Sequence[Interval]]]) -> None:
    """Write a PNG with one panel for each load: its title, when it began, and all that happened."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(loads), 1, figsize=(12, 3.2 * len(loads)), squeeze=False)
    for panel, (title, (begin_ns, intervals)) in zip(panels[:, 0], loads.items(), strict=True):
        ticks: dict[float, str] = {}
        top = 0.0
        for kind, colour in zip(KINDS, COLOURS, strict=True):
            rows = timeline.lanes([one for one in intervals if one.what == kind])
            for row in rows:
                bars = [((one.begin_ns - begin_ns) / 1e6, (one.end_ns - one.begin_ns) / 1e6) for one in row]
                panel.broken_barh(bars, (-top - 0.9, 0.8), facecolors=colour, edgecolor="white", linewidth=0.3)
                top += 1
            ticks[-top + len(rows) / 2] = kind
            top += GAP
        panel.set_yticks(list(ticks), list(ticks.values()))
        panel.set_xlabel("ms")
        panel.set_xlim(left=0)
        panel.set_title(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
