"""Instar's pipeline with one part taken away, put together here: the product has no switches for it.

    miniloader     the module is built with its default initialisation before it is run, as if its parameters were
                   needed; the weights arrive meanwhile
    decoupling     the chunks of each stage are fetched, digested, written and used when the stage is reached
    out of order   a chunk counts as there only when all chunks before it are
    priority       nobody says what a request waits for, and both loads are equally urgent (`race`)

The rule: what is not taken away is the product's own code, and the answer is still the module's, bit by bit.
"""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from instar import digests
from instar.executor import live, load
from instar.executor.mapping import Bound
from instar.weights.arrival import Arrival
from instar.weights.asks import Asks
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Weights
from instar.weights.pipeline import Urgency
from instar.weights.store import Store
from tests.bench import timing
from tests.bench.baselines.origin import Remote
from tests.bench.pipeline_subjects import OURS, First, Link, Subject, let_go, threads_gone
from tests.bench.timeline import Interval

ABLATIONS = ("miniloader", "decoupling", "out_of_order")


def without(part: str, subject: Subject, link: Link) -> First:
    """The first answer without one part of the pipeline."""
    subject.prepare(OURS, link)
    match part:
        case "miniloader":
            found = _without_miniloader(subject)
        case "decoupling":
            found = _without_decoupling(subject, link)
        case "out_of_order":
            found = _in_order(subject)
        case _:
            raise ValueError(f"no part {part!r}")
    subject.check(OURS, found.answer)
    return found


def _without_miniloader(subject: Subject) -> First:
    fetcher = Fetcher(subject.store)
    begin = time.perf_counter()
    model = load.begin(subject.package, fetcher=fetcher)
    module = subject.model.build().eval()
    (answer,) = model.run(subject.inputs)
    end = time.perf_counter()
    del module
    let_go(model, fetcher)
    return First(answer, timing.ms(begin, end))


@dataclass(frozen=True, slots=True)
class _File:
    """As much of an arrival as binding needs."""

    descriptor: int


def _without_decoupling(subject: Subject, link: Link) -> First:
    weights, size = subject.weights, subject.weights.chunk_bytes
    place = subject.folder / "coupled"
    begin = time.perf_counter()
    prepared = load.structure(subject.package, store=subject.store)
    code, stages = prepared.program.gated()
    needs = live.needed(prepared, stages)
    origin = subject.origin(OURS, link)
    assert isinstance(origin, Remote)
    reader = origin.reader()
    buffer = memoryview(bytearray(size))
    there: set[int] = set()
    with place.open("x+b") as file:
        os.posix_fallocate(file.fileno(), 0, weights.size)
        names = live.namespace(prepared.program)
        names["weights"] = load.bind(prepared, _File(file.fileno())).weights  # type: ignore[arg-type]

        def gate(stage: int) -> None:
            for first, last in needs[stage]:
                for chunk in range(first, last + 1):
                    if chunk in there:
                        continue
                    data = buffer[: min(size, weights.size - chunk * size)]
                    reader.ask(chunk * size, len(data))
                    reader.take(data)
                    if digests.hexdigest(data) != weights.chunks[chunk]:
                        raise ValueError(f"chunk {chunk} is damaged")
                    os.pwrite(file.fileno(), data, chunk * size)
                    there.add(chunk)

        names["gate"] = gate
        run = types.FunctionType(code, names)
        with torch.inference_mode():
            (answer,) = run(*live.fit(prepared.signature, subject.inputs))
        end = time.perf_counter()
    reader.close()
    place.unlink()
    return First(answer, timing.ms(begin, end))


class _Wrapped:
    """A fetcher whose arrivals are looked at, or changed, on their way to the model."""

    def __init__(self, fetcher: Fetcher, wrap: Any) -> None:
        self._fetcher = fetcher
        self._wrap = wrap
        self.store = fetcher.store

    def begin(
        self, weights: Weights, location: Path | str, *, spans: bytes = b"", urgency: Urgency = Urgency.REQUEST
    ) -> Arrival:
        return self._wrap(self._fetcher.begin(weights, location, spans=spans, urgency=urgency))  # type: ignore[no-any-return]


class _Delegating:
    """An arrival, but for what a subclass changes."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arrival, name)


class _InOrder(_Delegating):
    def has(self, first: int, last: int) -> bool:
        return self._arrival.has(0, last)

    def wait(self, first: int, last: int, urgency: Urgency = Urgency.REQUEST) -> None:
        self._arrival.wait(0, last, urgency)


def _in_order(subject: Subject) -> First:
    fetcher = Fetcher(subject.store)
    begin = time.perf_counter()
    model = load.begin(subject.package, fetcher=_Wrapped(fetcher, _InOrder))  # type: ignore[arg-type]
    (answer,) = model.run(subject.inputs)
    end = time.perf_counter()
    let_go(model, fetcher)
    return First(answer, timing.ms(begin, end))


class _Watched(_Delegating):
    """Notes each wait of a gate."""

    def __init__(self, arrival: Arrival, seen: list[Interval]) -> None:
        super().__init__(arrival)
        self._seen = seen

    def wait(self, first: int, last: int, urgency: Urgency = Urgency.REQUEST) -> None:
        begin = time.perf_counter_ns()
        self._arrival.wait(first, last, urgency)
        self._seen.append(Interval("wait", last, begin, time.perf_counter_ns()))


def watched(subject: Subject, link: Link) -> tuple[int, list[Interval]]:
    """One load by Instar, with everything that happened: when it began, and reads, digests, writes, binds, stages
    and waits. A stage runs from the end of its wait to the beginning of the next one."""
    subject.prepare(OURS, link)
    seen: list[Interval] = []
    fetcher = Fetcher(subject.store, observe=lambda *what: seen.append(Interval(*what)))
    waits: list[Interval] = []
    begin = time.perf_counter_ns()
    prepared = load.structure(subject.package, store=subject.store)
    structured = time.perf_counter_ns()

    def bind(*arguments: Any) -> Bound:
        started = time.perf_counter_ns()
        found = load.bind(*arguments)
        seen.append(Interval("bind", 0, started, time.perf_counter_ns()))
        return found

    wrapped = _Wrapped(fetcher, lambda arrival: _Watched(arrival, waits))
    assert subject.weights.uri is not None
    uri = subject.weights.uri
    model = live.LiveModel(prepared, lambda: wrapped.begin(prepared.weights, uri, spans=prepared.spans), bind)
    started = time.perf_counter_ns()
    (answer,) = model.run(subject.inputs)
    end = time.perf_counter_ns()
    let_go(model, fetcher)
    subject.check(OURS, answer)
    seen.append(Interval("structure", 0, begin, structured))
    waits = [wait for wait in waits if wait.end_ns <= end]
    runs = zip([started, *(w.end_ns for w in waits)], [*(w.begin_ns for w in waits), end], strict=True)
    seen += [Interval("stage", number, *span) for number, span in enumerate(runs)]
    return begin, [*seen, *waits]


# Two loads and one request.


class _Silent(Store):
    """A store on which nobody says what he waits for."""

    def asks(self) -> Asks:
        return _NobodyAsks()


class _NobodyAsks(Asks):
    def __init__(self) -> None:
        self._descriptor = -1

    @contextmanager
    def asking(self, urgency: Urgency, digest: str, first: int, last: int) -> Iterator[None]:
        yield

    def asked(self, urgency: Urgency, digest: str) -> tuple[int, int] | None:
        return None

    def others(self, digests: Collection[str]) -> Urgency | None:
        return None


@dataclass(frozen=True, slots=True)
class Raced:
    """How long a request took, and whether the other load was still under way when it had its answer."""

    ms: float
    overtook: bool


def alone(waiting: Subject, link: Link) -> Raced:
    """A request whose model has the link for itself."""
    return Raced(waiting.first(OURS, link).ms, overtook=False)


def race(waiting: Subject, other: Subject, link: Link) -> Raced:
    """The same while a prefetch of another model is under way, which finishes afterwards."""
    waiting.prepare(OURS, link)
    return _race(waiting, other, waiting.store, Urgency.REQUEST)


def race_without_priority(waiting: Subject, other: Subject, link: Link) -> Raced:
    """The same where the request is no more urgent than the prefetch, and says nothing."""
    waiting.prepare(OURS, link)
    return _race(waiting, other, _Silent(waiting.store.root), Urgency.PREFETCH)


def _race(waiting: Subject, other: Subject, store: Store, urgency: Urgency) -> Raced:
    is_under_way = threading.Event()
    fetcher = Fetcher(store, observe=lambda *_: is_under_way.set())
    prefetched = load.begin(other.package, fetcher=fetcher, urgency=Urgency.PREFETCH)
    if not is_under_way.wait(timing.WAIT_S):
        raise TimeoutError(f"no chunk of {other.name} arrived")
    begin = time.perf_counter()
    model = load.begin(waiting.package, fetcher=fetcher, urgency=urgency)
    (answer,) = model.run(waiting.inputs)
    end = time.perf_counter()
    waiting.check(OURS, answer)
    overtook = not prefetched.is_ready
    prefetched.wait()
    threads_gone()
    other.check(OURS, prefetched.run(other.inputs)[0])
    prefetched.close()
    let_go(model, fetcher)
    return Raced(timing.ms(begin, end), overtook)


def free_over_gated(subject: Subject, passes: int) -> list[float]:
    """What a warm pass of the free program takes, over one of the gated program whose weights are all there.

    A ratio of each pair of passes; who goes first changes.
    """
    fetcher = Fetcher(subject.store)
    prepared = load.structure(subject.package, store=subject.store)
    assert subject.weights.uri is not None
    arrival = fetcher.begin(prepared.weights, subject.weights.uri, spans=prepared.spans)
    arrival.wait_all()
    code, stages = prepared.program.gated()
    needs = live.needed(prepared, stages)

    def gate(stage: int) -> None:
        for first, last in needs[stage]:
            arrival.wait(first, last)

    names = {**live.namespace(prepared.program), "weights": load.bind(prepared, arrival).weights, "gate": gate}
    programs = [types.FunctionType(prepared.program.free, names), types.FunctionType(code, names)]
    values = live.fit(prepared.signature, subject.inputs)
    found = []
    with torch.inference_mode():
        for program in programs:
            subject.check(OURS, program(*values)[0])
        for turn in range(passes):
            taken = [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                begin = time.perf_counter()
                programs[which](*values)
                taken[which] = time.perf_counter() - begin
            found.append(taken[0] / taken[1])
    threads_gone()
    arrival.close()
    fetcher.close()
    return found
