"""What the first answer of a function costs, by the way in which it gets its container, through `instar serve`.

    cold         a container is started for it
    prewarmed    a container waits that is nobody's yet
    transformed  a container waits that is another function's, and becomes this one's
    warm         its own container waits

The same with containers that are processes and with those of a Docker engine. A time is the client's, from the
request to the whole answer, over HTTP on loopback. Each round has each model in each way, one after the other, so
nothing else goes on in the server; what a function was, before, is the model before it in the list. Idle containers
have told their models to rest, and Docker's are paused, before they become another function, as they would be after a
minute.

The weights lie in the node's store. Each answer is held against what the same package answers in this process, bit by
bit, and each start against what the activation record says of it, or the benchmark stops.

A figure is the median over all models and rounds; `transformed_minus_warm_ms` is the median of differences, each from
a transformed start to the median of the warm ones after it, in the same container.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actions.local import Invoked, Server, profiled, serving
from deploy.image import make
from deploy.image.errors import NoEngine

import instar
from instar.executor import load
from instar.package import MODEL_FILE
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.bench import figures, timing
from tests.image.engine import available
from tests.models import zoo

WAYS = ("cold", "prewarmed", "transformed", "warm")
MAKERS = ("process", "docker")
NAMES = (*(f"{way}_ms" for way in WAYS), "transformed_minus_warm_ms")
FIGURES = tuple(f"{maker}_{name}" for maker in MAKERS for name in NAMES)
MODELS = ("mobilenetv2_w1", "efficientnet_b0", "densenet121", "resnet18", "resnet50", "bert-base")
QUICK_MODELS = ("mobilenetv2_w1", "resnet18")
ROUNDS, QUICK_ROUNDS = 3, 1
WARM_CALLS = 5
KIND = "pytorch:2"
COLD_MB, PREWARMED_MB, SHARED_MB = 1152, 1280, 1408  # only the second has stem cells, only the third has donors
SERVER_MB = 16 * SHARED_MB
KEEP_ALIVE_S = 30.0  # longer than a round of one model; each function is replaced, and old containers are of no use
PAUSE_S, IDLE_S = 1.5, 2.0  # a model rests before its container sleeps, and that before it may be another's
WAIT_S = IDLE_S + 0.5
ALONE = {"sharing": "none"}

# What a handler and this benchmark both do to make inputs.
INPUTS = """
import torch

def inputs_of(signature):
    source = torch.Generator().manual_seed(20)
    found = {}
    for port in signature.inputs:
        shape = [size if isinstance(size, int) else {"tokens": 64}.get(size, 1) for size in port.type.shape]
        if port.type.dtype == "float32":
            found[port.name] = torch.rand(shape, generator=source)
        else:
            found[port.name] = torch.randint(1, 2 if "mask" in port.name else 1000, shape, generator=source)
    return found
"""
HANDLER = (
    INPUTS
    + """
import hashlib
import instar

model = instar.model()

def main(args):
    outputs = model(**inputs_of(model.signature))
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return {"digest": hashlib.sha256(b"".join(x.numpy().tobytes() for x in outputs)).hexdigest()}
"""
)


@dataclass(frozen=True, slots=True)
class Subject:
    """One model as an action, and the digest of its right answer."""

    name: str
    archive: Path
    digest: str


@dataclass(slots=True)
class Times:
    """What was measured with containers of one maker, in ms, by model."""

    of_way: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    over_warm: list[float] = field(default_factory=list)

    def all(self, way: str) -> list[float]:
        return [ms for times in self.of_way.values() for ms in times[way]]


def main() -> None:
    settings = figures.Settings.of(os.environ)
    names, rounds = (QUICK_MODELS, QUICK_ROUNDS) if settings.quick else (MODELS, ROUNDS)
    with figures.reporting(FIGURES, settings) as report, timing.folder() as folder:
        environ = profiled(folder, quick=settings.quick)
        subjects = packed(folder / "build", names)
        for maker in MAKERS:
            place = folder / maker
            place.mkdir()
            try:
                with server(maker, place, environ) as running:
                    times = measure(maker, running, subjects, rounds, report)
            except NoEngine as error:
                for name in NAMES:
                    report.miss(f"{maker}_{name}", str(error))
                continue
            for way in WAYS:
                report.measure(f"{maker}_{way}_ms", times.all(way))
            report.measure(f"{maker}_transformed_minus_warm_ms", times.over_warm)
            report.say(_table(maker, times))


@contextmanager
def server(maker: str, folder: Path, environ: Mapping[str, str]) -> Iterator[Server]:
    """`instar serve` with these containers, each of its stem cells up. Raises `NoEngine`."""
    options = ["--idle-threshold", str(IDLE_S)]
    with ExitStack() as stack:
        if maker == "docker":
            engine = stack.enter_context(available())
            make.image(engine, lambda _: None)
            options += ["--containers", "docker", "--pause-grace", str(PAUSE_S)]
            environ = {**environ, "DOCKER_HOST": engine.host}
        running = stack.enter_context(
            serving(
                folder,
                *options,
                prewarm=[f"{KIND}:{PREWARMED_MB}:1"],
                memory_mb=SERVER_MB,
                keep_alive_s=KEEP_ALIVE_S,
                environ=environ,
            )
        )
        running.await_event("prewarmed")
        yield running


def measure(maker: str, running: Server, subjects: list[Subject], rounds: int, report: figures.Report) -> Times:
    """Start each model in each way, `rounds` times and once before that which does not count."""
    times = Times()
    with figures.progress((rounds + 1) * len(subjects), maker) as bar:
        for turn in range(rounds + 1):
            for subject in subjects:
                for way, started in _each_way(running, subject, is_first=not turn):
                    if turn:
                        times.of_way[subject.name][way].append(started.elapsed_ms)
                        report.row(
                            maker=maker, model=subject.name, way=way, ms=started.elapsed_ms, **started.times_ms,
                            **{key: value for key, value in started.note.items() if key.endswith("Ms")},
                        )  # fmt: skip
                if turn:
                    found = times.of_way[subject.name]
                    warm = statistics.median(found["warm"][-WARM_CALLS:])
                    times.over_warm.append(found["transformed"][-1] - warm)
                bar.update()
    return times


def _each_way(running: Server, subject: Subject, *, is_first: bool) -> Iterator[tuple[str, Invoked]]:
    running.create(f"{subject.name}-cold", subject.archive, kind=KIND, memory_mb=COLD_MB, annotations=ALONE)
    yield "cold", _call(running, f"{subject.name}-cold", subject, "cold")
    running.create(f"{subject.name}-prewarmed", subject.archive, kind=KIND, memory_mb=PREWARMED_MB, annotations=ALONE)
    yield "prewarmed", _call(running, f"{subject.name}-prewarmed", subject, "prewarmed")
    running.await_event("prewarmed")  # the cell that was taken is replaced
    name = f"{subject.name}-shared"
    running.create(name, subject.archive, kind=KIND, memory_mb=SHARED_MB)
    time.sleep(WAIT_S)  # only idle time makes a container a donor, and plans are made meanwhile
    yield "transformed", _call(running, name, subject, None if is_first else "transformed")
    for _ in range(WARM_CALLS):
        yield "warm", _call(running, name, subject, "warm")


def _call(running: Server, name: str, subject: Subject, way: str | None) -> Invoked:
    """One invocation. Raises `RuntimeError` if it started in another way, or the answer is not the model's."""
    invoked = running.invoke(name, {})
    if way is not None and invoked.start != way:
        raise RuntimeError(f"{name} was to start {way}, and its record says {invoked.note}")
    if invoked.result != {"digest": subject.digest}:
        raise RuntimeError(f"{name} answered {invoked.result}, and the package {subject.digest}")
    return invoked


def packed(folder: Path, names: tuple[str, ...]) -> list[Subject]:
    """The actions of these models; their weights lie beside the archives."""
    found = []
    with figures.progress(len(names), "pack") as bar:
        for model in zoo.LARGE:
            if model.name in names:
                found.append(_packed(folder / model.name, model))
                bar.update()
    if len(found) != len(names):
        sys.exit(f"no models of these names: {set(names) - {one.name for one in found}}")
    return found


def _packed(folder: Path, model: zoo.Model) -> Subject:
    package = folder / "model"
    weights = folder / "weights.safetensors"
    folder.mkdir(parents=True)
    instar.pack(
        model.module(), model.inputs(1), package,
        dims=model.dims, bounds=model.bounds, weights_uri=weights.resolve().as_uri(),
    )  # fmt: skip
    (package / WEIGHTS_FILE).replace(weights)
    archive = folder / f"{model.name}.zip"
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED) as file:
        file.writestr("__main__.py", HANDLER)
        file.write(package / MODEL_FILE, f"model/{MODEL_FILE}")
    return Subject(model.name, archive, _digest(package, folder / "store"))


def _digest(package: Path, store: Path) -> str:
    """What the package answers here, put as its handler puts it."""
    import hashlib

    names: dict[str, Any] = {}
    exec(INPUTS, names)  # a text of this file
    model = load.load(package, store=Store(store))
    try:
        outputs = model.run(names["inputs_of"](model.signature))
        return hashlib.sha256(b"".join(x.numpy().tobytes() for x in outputs)).hexdigest()
    finally:
        model.close()


def _table(maker: str, times: Times) -> str:
    rows = [
        (
            model,
            *(statistics.median(found[way]) for way in WAYS),
            min(found["transformed"]),
            max(found["transformed"]),
        )
        for model, found in times.of_way.items()
    ]
    return figures.table((f"{maker}, median ms", *WAYS, "least", "most"), rows)


if __name__ == "__main__":
    main()
