"""What the action image costs, beside a plain Flask runtime with the same function in the same image.

    run      `POST /run` with the function's model called once, at 1 and at 4 clients; the two runtimes take turns
    start    from `docker run` to the answer of the first `/run`: create (until the engine says that it runs), import
             (until `/ready`), init, run; again in turns
    memory   the proportional set size of all processes of 1 and of 8 containers at rest, each with a function that
             does nothing; and, for comparison, before there is a function, with a model of 98 MiB whose weights lie
             on the node, and all of it for the plain runtime
    growth   what 10,000 runs add to a container
    rows     of OpenWhisk's checklist, and exchanges recorded from the stock image, sent to containers of the image

The rule: both runtimes answer with the scores of the module in this process, bit by bit, or the benchmark stops.
torch computes with one thread everywhere. `run_over_stock_ms_*` is the larger one of the differences at 1 and at 4
clients; at 4 clients, as OpenWhisk has it, ours is allowed to run several at once.

Memory is missing while the engine runs other containers: pages are divided among all who map them.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.image import make

from tests.bench import figures, image_subjects, proportional
from tests.bench.image_subjects import Runtime, request
from tests.bench.proportional import Memory
from tests.image.containers import LABEL, ImageContainer
from tests.image.engine import available
from tests.runtime import checklist, recorded
from tests.runtime.containers import zipped
from tests.survival import functions, growth

if TYPE_CHECKING:
    import docker
    import torch

FIGURES = (
    "run_over_stock_ms_p50",
    "run_over_stock_ms_p99",
    "create_to_answer_ms",
    "stock_create_to_answer_ms",
    "image_mib",
    "idle_pss_mib",
    "pss_8_over_1",
    "growth_10000_runs_mib",
    "checklist_rows",
    "checklist_passed",
    "exchanges_replayed",
    "exchanges_equal",
    "exchanges_better",
)
SEED = 20
INPUTS = 8
LAYERS = (
    "nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), "
    "nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), "
    "nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10)"
)
LARGE = "nn.Flatten(), nn.Linear(12288, 2080), nn.ReLU(), nn.Linear(2080, 10)"  # 98 MiB, as ResNet-50 has
MANY = 8
CLIENTS = (1, 4)
STEPS = ("create", "import", "init", "run")
CONCURRENT = {"__OW_ALLOW_CONCURRENT": "true"}
NOTHING = json.dumps({"value": {"a": 1}}).encode()  # a run without a picture: the function hands it back
PICTURE = json.dumps({"value": {"image": 0}}).encode()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int  # of runs, each of `runs` of both
    runs: int
    starts: int


FULL, QUICK = Sizes(rounds=12, runs=250, starts=9), Sizes(rounds=4, runs=50, starts=2)
RUNS = 10_000


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs."""

    client: docker.DockerClient
    image: str
    report: figures.Report
    sizes: Sizes


def main() -> None:
    settings = figures.Settings.of(os.environ)
    with (
        figures.reporting(FIGURES, settings) as report,
        tempfile.TemporaryDirectory(prefix="instar-bench-") as folder,
        available() as engine,
    ):
        with figures.progress(1, "image"):
            made = make.image(engine, lambda _: None)
        report.state("image_mib", made.mib)
        rows = [(layer.part, layer.mib) for layer in made.layers]
        report.say(figures.table((f"image {made.image}, layers, MiB", ""), rows))
        bench = Bench(engine.client, made.image, report, QUICK if settings.quick else FULL)
        memory(bench, Path(folder) / "large", quick=settings.quick)
        module, runtimes = image_subjects.both(Path(folder) / "small", LAYERS, images=INPUTS, seed=SEED)
        starts(bench, runtimes)
        runs(bench, runtimes, module)
        if settings.quick:
            report.miss("growth_10000_runs_mib", "QUICK=1: ten thousand runs take minutes")
        else:
            grow(bench, Path(folder))
        conform(bench)


def memory(bench: Bench, folder: Path, *, quick: bool) -> None:
    """Start 1 container and then 7 more of each kind, and see what they take at rest."""
    echo = image_subjects.ours(functions.ECHO.encode())
    plain_echo = image_subjects.plain(zipped({"__main__.py": functions.ECHO}))
    cases: list[tuple[str, Callable[[], ImageContainer]]] = [("function", lambda: initialised(bench, echo))]
    if not quick:
        large, plain_large = image_subjects.both_with_a_large_model(folder, LARGE, seed=SEED)
        cases += [
            ("nothing yet", lambda: ready(bench, echo)),
            ("function, plain runtime", lambda: initialised(bench, plain_echo)),
            ("98 MiB model", lambda: initialised(bench, large, run=PICTURE)),
            ("98 MiB model, plain runtime", lambda: initialised(bench, plain_large, run=PICTURE)),
        ]
    others = {str(one.name) for one in bench.client.containers.list()}
    taken: dict[str, list[Memory]] = {}
    with figures.progress(len(cases) * MANY, "memory") as bar:
        for name, make_one in cases:
            with ExitStack() as stack:
                taken[name] = []
                containers: list[ImageContainer] = []
                for _ in range(MANY):
                    containers.append(stack.enter_context(closing(make_one())))
                    taken[name].append(proportional.of_processes(pid for c in containers for pid in c.group()))
                    bar.update()
                if name == "function":
                    roles = containers[0].processes()
                    by_role = {role: proportional.of_process(pid) for role, pid in roles.items()}
    for name, sizes in taken.items():
        bench.report.row(kind="memory", case=name, **{f"of_{n}": asdict(sizes[n - 1]) for n in (1, MANY)})
    others |= {str(one.name) for one in bench.client.containers.list()}
    first, last = taken["function"][0], taken["function"][-1]
    for name, value in (("idle_pss_mib", first.pss), ("pss_8_over_1", last.pss / first.pss)):
        if others:
            bench.report.miss(name, f"pages are divided with other containers of the engine: {', '.join(others)}")
        else:
            bench.report.state(name, value)
    bench.report.say(_memory_table(taken))
    rows = [(role, m.pss, m.anonymous, m.files, m.private) for role, m in by_role.items()]
    bench.report.say(figures.table(("one of 8, MiB", "PSS", "anonymous", "files", "private"), rows))


def _memory_table(taken: Mapping[str, Sequence[Memory]]) -> str:
    rows = []
    for name, sizes in taken.items():
        one, many = sizes[0], sizes[-1]
        rows.append(
            (name, one.pss, one.anonymous, one.files, many.pss, many.anonymous, many.files, many.pss / one.pss)
        )
    header = ("at rest, MiB", "1: PSS", "anonymous", "files", "8: PSS", "anonymous", "files", "8 over 1")
    return figures.table(header, rows)


def starts(bench: Bench, runtimes: Sequence[Runtime]) -> None:
    """Start containers of both in turns, and time the steps to the first answer."""
    taken: dict[str, list[dict[str, float]]] = {runtime.name: [] for runtime in runtimes}
    with figures.progress(bench.sizes.starts + 1, "starts") as bar:
        for turn, runtime in figures.interleaved(runtimes, bench.sizes.starts + 1):
            steps = _start(bench, runtime)
            if turn:  # the first ones fill the page cache
                taken[runtime.name].append(steps)
                bench.report.row(kind="start", runtime=runtime.name, **steps)
            bar.update(1 / len(runtimes))
    for runtime, name in zip(runtimes, ("create_to_answer_ms", "stock_create_to_answer_ms"), strict=True):
        bench.report.measure(name, [sum(steps.values()) for steps in taken[runtime.name]])
    rows = [
        (name, *(statistics.median(one[step] for one in found) for step in STEPS)) for name, found in taken.items()
    ]
    bench.report.say(figures.table(("start, median ms", *STEPS), rows))


def _start(bench: Bench, runtime: Runtime) -> dict[str, float]:
    begin = time.perf_counter()
    marks = []
    with closing(runtime.start(bench.client, bench.image, {})) as container:
        marks.append(time.perf_counter())
        for method, path, body in (
            ("GET", "/ready", b""),
            ("POST", "/init", runtime.body),
            ("POST", "/run", NOTHING),
        ):
            request(container, method, path, body)
            marks.append(time.perf_counter())
    return {step: (after - before) * 1000 for step, before, after in zip(STEPS, [begin, *marks], marks, strict=False)}


def runs(bench: Bench, runtimes: Sequence[Runtime], module: torch.nn.Module) -> None:
    """Let both answer the same requests in turns, at 1 and at 4 clients."""
    bodies = [json.dumps({"value": {"image": image}}).encode() for image in range(INPUTS)]
    expected = _scores(module)
    differences: dict[int, list[tuple[float, float]]] = {}
    rows = []
    for clients in CLIENTS:
        environ = CONCURRENT if clients > 1 else {}
        with ExitStack() as stack, ThreadPoolExecutor(clients) as pool:
            pairs = [
                (runtime.name, stack.enter_context(closing(initialised(bench, runtime, environ))))
                for runtime in runtimes
            ]
            found: dict[str, list[list[float]]] = {name: [] for name, _ in pairs}
            bar = stack.enter_context(figures.progress(bench.sizes.rounds + 1, f"runs, {clients} clients"))
            for turn, (name, container) in figures.interleaved(pairs, bench.sizes.rounds + 1):

                def one(number: int, container: ImageContainer = container) -> float:
                    image = number % INPUTS
                    begin = time.perf_counter()
                    answer = request(container, "POST", "/run", bodies[image])
                    taken = (time.perf_counter() - begin) * 1000
                    if answer != {"scores": expected[image]}:
                        raise ValueError(f"/run answered {answer} instead of {expected[image]}")
                    return taken

                times = list(pool.map(one, range(bench.sizes.runs)))
                if turn:  # the first round warms up
                    found[name].append(times)
                bar.update(1 / len(pairs))
        by_round = list(zip(*found.values(), strict=True))
        differences[clients] = [
            tuple(figures.percentile(mine, share) - figures.percentile(theirs, share) for share in (0.5, 0.99))  # type: ignore[misc]
            for mine, theirs in by_round
        ]
        for name, rounds in found.items():
            everything = [taken for times in rounds for taken in times]
            rows.append(
                (
                    f"{name}, {clients} clients",
                    figures.percentile(everything, 0.5),
                    figures.percentile(everything, 0.99),
                )
            )
            for times in rounds:
                p50, p99 = figures.percentile(times, 0.5), figures.percentile(times, 0.99)
                bench.report.row(kind="run", runtime=name, clients=clients, p50_ms=p50, p99_ms=p99)
    for index, name in enumerate(("run_over_stock_ms_p50", "run_over_stock_ms_p99")):
        by_clients = [[one[index] for one in found] for found in differences.values()]
        bench.report.measure(name, max(by_clients, key=statistics.median))
    bench.report.say(
        f"{bench.sizes.rounds} rounds of {bench.sizes.runs} runs of each, a convolutional network on one image, "
        "a new connection for each run\n\n" + figures.table(("ms", "p50", "p99"), rows)
    )


def _scores(module: torch.nn.Module) -> list[list[float]]:
    import torch

    images = torch.randn(INPUTS, 1, 3, 64, 64, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        return [module(image)[0].tolist() for image in images]


def grow(bench: Bench, folder: Path) -> None:
    """What ten thousand runs add to a container; the larger of a function without and with a model."""
    codes = {
        "function": functions.ECHO.encode(),
        "function with a model": base64.b64decode(functions.doubling(folder)),
    }
    grown = []
    for name, code in codes.items():
        runtime = image_subjects.ours(code)
        with closing(ready(bench, runtime)) as container, figures.progress(RUNS, f"growth, {name}") as bar:
            request(container, "POST", "/init", runtime.body)

            def call(number: int, container: ImageContainer = container, bar: Any = bar) -> None:
                request(container, "POST", "/run", b'{"value":{"n":%d}}' % number)
                bar.update()

            grown.append(growth.measure(container, call, runs=RUNS))
            bench.report.row(kind="growth", function=name, **asdict(grown[-1]))
    bench.report.state("growth_10000_runs_mib", max(one.mib for one in grown))


def conform(bench: Bench) -> None:
    """OpenWhisk's checklist and the recorded exchanges, sent to containers of the image."""

    def start(environ: Mapping[str, str]) -> ImageContainer:
        return ImageContainer(bench.client, bench.image, environ=environ, labels={LABEL: "bench"})

    with figures.progress(2, "checklist, recorded exchanges") as bar:
        for part in (checklist.figures, recorded.figures):
            for name, value in part(start).items():
                bench.report.state(name, value)
            bar.update()


def ready(bench: Bench, runtime: Runtime, environ: Mapping[str, str] | None = None) -> ImageContainer:
    """A container that has no function yet."""
    container = runtime.start(bench.client, bench.image, environ or {})
    try:
        request(container, "GET", "/ready")
    except BaseException:
        container.close()
        raise
    return container


def initialised(
    bench: Bench, runtime: Runtime, environ: Mapping[str, str] | None = None, *, run: bytes = NOTHING
) -> ImageContainer:
    """A container that has its function, which was called once."""
    container = ready(bench, runtime, environ)
    try:
        request(container, "POST", "/init", runtime.body)
        request(container, "POST", "/run", run)
    except BaseException:
        container.close()
        raise
    return container


if __name__ == "__main__":
    main()
