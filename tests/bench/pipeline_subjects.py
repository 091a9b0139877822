"""One model and its files, and how each system comes from nothing to the first answer of it.

    ordinary, assigned, pisel, cicada    `baselines`, each with a file of its own kind
    instar                               the package, its weights by way of the node's store

The rule: every answer is held against the module's own, or the benchmark stops: Instar's bit by bit, the others' as
close as other memory alignments allow. All start in a process that has run the architecture before, with nothing of
the weights in it, and read from the same source; what they prepare offline (a packed model, PISeL's partitions,
Cicada's ranges) is not timed.
"""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

import instar
from instar.executor import load
from instar.executor.live import LiveModel
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.bench import residency, throttled, timing
from tests.bench.baselines import assigned, cicada, layers, ordinary, partition, pisel
from tests.bench.baselines.origin import Local, Remote
from tests.bench.timeline import Interval
from tests.models import zoo

BASELINES = ("ordinary", "pisel", "assigned", "cicada")
OURS = "instar"
SYSTEMS = (*BASELINES, OURS)
SAMPLES = 21  # of a request's latency
UNLIMITED = 1e12


@dataclass(frozen=True, slots=True)
class Link:
    """Where weights come from: the throttled source at `rate` bytes a second, or, without one, the disk."""

    name: str
    rate: float | None


@dataclass(frozen=True, slots=True)
class First:
    """A first answer: how long it took, and what Instar's pipeline did meanwhile, if it was Instar's."""

    answer: torch.Tensor
    ms: float
    run_ms: float = 0.0
    waited_ms: float = 0.0
    intervals: tuple[Interval, ...] = ()


class Subject:
    """One model. Owns the files below `folder`, which the source serves as `name/…`."""

    def __init__(self, model: zoo.Model, folder: Path, source: throttled.Source) -> None:
        self.model = model
        self.name = model.name
        self.folder = folder
        self.source = source
        self.inputs = model.inputs(1)
        self.module = model.module()
        self.expected = self.answer(self.module)
        self.package = folder / "package"
        state = self.module.state_dict()
        torch.save(state, folder / "w.pt")
        safetensors.torch.save_file(state, folder / "w.safetensors")
        self.checkpoint = layers.write(self.module, lambda: self.answer(self.module), folder / "w.layers")
        self.ranges = cicada.cut(self.checkpoint)
        # What a module computes when it is built on a real device and no file holds.
        self.unsaved = {name: buffer for name, buffer in self.module.named_buffers() if name not in state}
        packed = instar.pack(
            self.module,
            self.inputs,
            self.package,
            dims=model.dims,
            bounds=model.bounds,
            weights_uri=source.url(f"{folder.name}/package/{WEIGHTS_FILE}"),
        )
        self.weights = packed.weights
        self.nbytes = packed.weights.size
        self.store = Store(folder / "store")
        self.costs = self._costs()
        self._partitions: dict[Link, tuple[tuple[tuple[int, int], ...], int]] = {}
        timing.settle(folder)

    def answer(self, module: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return module(**self.inputs)  # type: ignore[no-any-return]

    def check(self, system: str, answer: torch.Tensor) -> None:
        """Raises `AssertionError` where an answer is not the module's."""
        torch.testing.assert_close(answer, self.expected, rtol=1e-3, atol=1e-3)
        if system == OURS and not torch.equal(answer, self.expected):
            raise AssertionError(f"{self.name}: Instar's answer is not the module's, bit by bit")

    # Files.

    def file(self, system: str) -> Path:
        """What a system reads."""
        match system:
            case "ordinary":
                return self.folder / "w.pt"
            case "assigned":
                return self.folder / "w.safetensors"
            case "pisel" | "cicada":
                return self.checkpoint.path
            case _:
                return self.package / WEIGHTS_FILE

    def origin(self, system: str, link: Link) -> Remote | Local:
        path = self.file(system)
        if link.rate is None:
            return Local(path)
        return Remote(self.source.address, str(path.relative_to(self.folder.parent)))

    def fill(self) -> None:
        """Bring what the source serves into the page cache."""
        for system in SYSTEMS:
            residency.fill(self.file(system))

    def empty_store(self) -> None:
        """Take all weights out of the node's store; compiled programs stay."""
        for folder in ("weights", "incoming", "asks"):
            place = self.store.root / folder
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)

    def fill_store(self) -> None:
        """Have all weights in the node's store, verified, on the disk, and not in the page cache."""
        if not self.store.place(self.weights.digest).exists():
            self.source.set_rate(UNLIMITED)
            fetcher = Fetcher(self.store)
            let_go(load.begin(self.package, fetcher=fetcher), fetcher)
        residency.drop(self.store.place(self.weights.digest))

    def prepare(self, system: str, link: Link) -> None:
        """What must be so before a system starts. Not timed."""
        if link.rate is not None:
            self.source.set_rate(link.rate)
            self.empty_store()
        elif system == OURS:
            self.fill_store()
        else:
            residency.drop(self.file(system))
        residency.touch_free_memory(self.folder, 2 * self.nbytes)

    # PISeL's offline part.

    def _costs(self) -> list[partition.LayerCost]:
        """What each layer takes to load and to run, measured."""
        module = assigned.on_meta(self.model.build, self.unsaved)
        parts = dict(module.named_modules(remove_duplicate=False))
        buffer = torch.empty(self.checkpoint.size, dtype=torch.uint8)
        load_s = []
        for layer in self.checkpoint.layers:
            begin = time.perf_counter()
            layers.bind(parts, layer, buffer, 0)
            load_s.append(time.perf_counter() - begin)
        run_s = layers.seconds(self.module, self.checkpoint.layers, lambda: self.answer(self.module))
        return [
            partition.LayerCost(sum(t.nbytes for t in layer.tensors), load, run)
            for layer, load, run in zip(self.checkpoint.layers, load_s, run_s, strict=True)
        ]

    def partitions(self, link: Link) -> tuple[tuple[tuple[int, int], ...], int]:
        """PISeL's partitions for a link, and the cover that hides a request's latency; solved once."""
        if link not in self._partitions:
            connection = partition.Link(self._latency_s(link), self.bandwidth(link))
            self._partitions[link] = partition.solve(self.costs, connection), connection.cover_bytes
        return self._partitions[link]

    def _latency_s(self, link: Link) -> float:
        path = self.file("pisel")
        if link.rate is None:
            residency.drop(path)
        reader = self.origin("pisel", link).reader()
        byte = memoryview(bytearray(1))
        taken = []
        try:
            for sample in range(SAMPLES):
                begin = time.perf_counter()
                reader.ask(sample * (self.checkpoint.size // SAMPLES), 1)
                reader.take(byte)
                taken.append(time.perf_counter() - begin)
        finally:
            reader.close()
        return statistics.median(taken)

    def bandwidth(self, link: Link) -> float:
        """Bytes a second of a plain transfer, measured now."""
        path = self.file("pisel")
        if link.rate is None:
            return residency.disk_rate(path)
        self.source.set_rate(link.rate)
        return throttled.plain_rate(self.source, str(path.relative_to(self.folder.parent)))

    # The systems.

    def first(self, system: str, link: Link) -> First:
        """From nothing to the first answer, timed and checked."""
        self.prepare(system, link)
        if system == OURS:
            found = self.by_instar()
        else:
            act = self._baseline(system, link)
            begin = time.perf_counter()
            answer = act()
            found = First(answer, timing.ms(begin, time.perf_counter()))
        self.check(system, found.answer)
        return found

    def _baseline(self, system: str, link: Link) -> Callable[[], torch.Tensor]:
        origin, build, run = self.origin(system, link), self.model.build, self.answer
        size = self.file(system).stat().st_size
        match system:
            case "ordinary":
                return lambda: ordinary.answer(origin, size, build, run, folder=self.folder)
            case "assigned":
                return lambda: assigned.answer(origin, size, build, run, unsaved=self.unsaved, folder=self.folder)
            case "pisel":
                partitions, cover = self.partitions(link)
                if link.rate is None:
                    residency.drop(self.file(system))
                return lambda: pisel.answer(origin, self.checkpoint, partitions, cover, lambda: build().eval(), run)
            case "cicada":
                return lambda: cicada.answer(origin, self.checkpoint, self.ranges, build, run, unsaved=self.unsaved)
        raise ValueError(f"no baseline {system!r}")

    def by_instar(self) -> First:
        intervals: list[Interval] = []
        fetcher = Fetcher(self.store, observe=lambda *seen: intervals.append(Interval(*seen)))
        begin = time.perf_counter()
        model = load.begin(self.package, fetcher=fetcher)
        begun = time.perf_counter()
        (answer,) = model.run(self.inputs)
        end = time.perf_counter()
        waited_ms = model.spent().waited_ns / 1e6
        let_go(model, fetcher)
        return First(answer, timing.ms(begin, end), timing.ms(begun, end), waited_ms, tuple(intervals))


def let_go(model: LiveModel, fetcher: Fetcher) -> None:
    """Have a transfer end as it would, then drop the model."""
    model.wait()
    threads_gone()
    model.close()
    fetcher.close()


def threads_gone() -> None:
    """Return when no thread of a fetcher is left: what it fetched has its place in the store, on the disk."""
    for thread in threading.enumerate():
        if thread.name == "instar-fetch":
            thread.join(timing.WAIT_S)
            if thread.is_alive():
                raise TimeoutError(f"a fetcher's thread is still there after {timing.WAIT_S} s")


@contextmanager
def packed(model: zoo.Model, served: Path, source: throttled.Source) -> Iterator[Subject]:
    """A model with its files in a folder of the source, which is removed afterwards."""
    folder = served / model.name
    folder.mkdir()
    try:
        subject = Subject(model, folder, source)
        subject.fill()
        yield subject
    finally:
        shutil.rmtree(folder, ignore_errors=True)
