"""What the runtime costs: a warm `/run` over HTTP beyond the model's own forward pass, a boot, and an idle container.

    module   a forward pass of the plain module in this process
    run      `POST /run` to a container whose handler calls the same model by `instar.model()`: a new TCP connection,
             as OpenWhisk makes one for each request, gunicorn, Flask, the worker, the executor, and all the way back
    empty    the same without the model call: what HTTP and the worker cost alone

The rule: the three take turns, and every answer of the model is the module's, bit by bit, or the benchmark stops. The
overhead is the difference within a round, so that what slows the machine down for a while hits both. torch computes
with one thread on both sides: two pools of spinning threads on the same cores would measure each other.

`boot_ms` is the time from the start of `instar-runtime` to the answer of an `/init` with a trivial action, torch in
the page cache. `idle_pss_mib` is the proportional set size of such a container's processes; it is taken before torch
is imported here, and one container at a time, for shared pages are divided among all who map them.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench import asking, figures, proportional
from tests.runtime.containers import Container, zipped_folder

if TYPE_CHECKING:
    import torch

FIGURES = ("run_overhead_ms_p50", "run_overhead_ms_p99", "boot_ms", "idle_pss_mib")
BOOTS, QUICK_BOOTS = 7, 3
ROUNDS, QUICK_ROUNDS = 1000, 300
WARM_UP = 50
SEED = 20
INPUTS = 8  # different ones, so that an answer cannot be the one before
TRIVIAL = "def main(args):\n    return args\n"
HANDLER = f"""
import torch
import instar

model = instar.model()
images = torch.randn({INPUTS}, 1, 3, 64, 64, generator=torch.Generator().manual_seed({SEED}))

def main(args):
    return {{'scores': model(images[args['image']])[0].tolist()}} if 'image' in args else {{}}
"""


def main() -> None:
    settings = figures.Settings.of(os.environ)
    with (
        figures.reporting(FIGURES, settings) as report,
        tempfile.TemporaryDirectory(prefix="instar-bench-") as folder,
    ):
        boots(report, Path(folder), QUICK_BOOTS if settings.quick else BOOTS)
        runs(report, Path(folder), QUICK_ROUNDS if settings.quick else ROUNDS)


def boots(report: figures.Report, folder: Path, count: int) -> None:
    """Start containers one after the other; note the time to the first answer and the memory at rest."""
    times, sizes = [], []
    with figures.progress(count + 1, "boots") as bar:
        for number in range(count + 1):
            start = time.perf_counter()
            with running(folder / f"boot-{number}") as container:
                expect(container, "/init", {"value": {"code": TRIVIAL}}, {"ok": True})
                boot_ms = (time.perf_counter() - start) * 1000
                expect(container, "/run", {"value": {"a": 1}}, {"a": 1})
                memory = pss_mib(container)
            if number:  # the first one fills the page cache
                times.append(boot_ms)
                sizes.append(sum(memory.values()))
                report.row(kind="boot", boot_ms=boot_ms, **{f"{role}_pss_mib": mib for role, mib in memory.items()})
            bar.update()
    report.measure("boot_ms", times)
    report.measure("idle_pss_mib", sizes)
    report.say(figures.table(("idle, MiB of PSS", ""), memory.items()))


def runs(report: figures.Report, folder: Path, rounds: int) -> None:
    """Let the module, a run with the model and an empty run take turns."""
    import torch

    module, images = build()
    pack(module, images[0], folder / "model")
    torch.set_num_threads(1)
    with (
        running(folder / "runs", "--threads", "1") as container,
        figures.progress(rounds, "runs") as bar,
        torch.inference_mode(),
    ):
        assert container.init(zipped_folder(folder / "model", "model", {"__main__.py": HANDLER})).status == 200
        expected = [module(image)[0].tolist() for image in images]
        image = 0

        def by_module() -> None:
            assert module(images[image])[0].tolist() == expected[image]

        def by_run() -> None:
            expect(container, "/run", {"value": {"image": image}}, {"scores": expected[image]})

        def by_empty() -> None:
            expect(container, "/run", {"value": {}}, {})

        kinds: list[tuple[str, Callable[[], None]]] = [("module", by_module), ("run", by_run), ("empty", by_empty)]
        for _, act in kinds * WARM_UP:
            act()
        taken: dict[str, list[float]] = {name: [] for name, _ in kinds}
        for turn, (name, act) in figures.interleaved(kinds, rounds):
            image = turn % INPUTS
            start = time.perf_counter()
            act()
            taken[name].append((time.perf_counter() - start) * 1000)
            bar.update(1 / len(kinds))
    for module_ms, run_ms, empty_ms in zip(*taken.values(), strict=True):
        report.row(kind="run", module_ms=module_ms, run_ms=run_ms, empty_ms=empty_ms)
    overheads = [run - module for run, module in zip(taken["run"], taken["module"], strict=True)]
    report.measure("run_overhead_ms_p50", overheads)
    report.state("run_overhead_ms_p99", figures.percentile(overheads, 0.99))
    report.say(
        f"{rounds} rounds, a convolutional network of {sum(p.numel() for p in module.parameters())} parameters "
        "on one image [1, 3, 64, 64], one thread of torch, a new connection for each run\n\n"
        + figures.table(
            ("ms", "lower quartile", "median", "upper quartile", "p99"),
            [(name, *figures.quartiles(values), figures.percentile(values, 0.99)) for name, values in taken.items()],
        )
    )


def build() -> tuple[torch.nn.Module, torch.Tensor]:
    """The network, and the images that the handler makes for itself, too."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10),
            )  # fmt: skip

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.layers(image)  # type: ignore[no-any-return]

    torch.manual_seed(SEED)
    images = torch.randn(INPUTS, 1, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
    return Network().eval(), images


def pack(module: torch.nn.Module, image: torch.Tensor, folder: Path) -> None:
    import instar

    instar.pack(module, (image,), folder)


def expect(container: Container, path: str, document: Any, answer: Any) -> None:
    """One request on a connection of its own; its answer must be this one."""
    found = asking.request(("127.0.0.1", container.port), "POST", path, json.dumps(document).encode())
    if found != answer:
        raise ValueError(f"{path} answered {str(found)[:300]} instead of {str(answer)[:200]}")


def pss_mib(container: Container) -> dict[str, float]:
    """The proportional set size of each process of a container."""
    return {role: proportional.of_process(pid).pss for role, pid in container.processes().items()}


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Container]:
    container = Container(folder, *arguments)
    try:
        yield container
    finally:
        container.close()


if __name__ == "__main__":
    main()
