"""How long a model takes to load and answer: Instar against what people do with PyTorch today.

    warm    a forward pass of the plain module, which has answered before: the least that any answer takes
    b0      build with initialisation, `torch.load`, `load_state_dict` (copies), answer
    b1      build on the meta device, safetensors, `load_state_dict(assign=True)`, answer
    instar  load the package, answer; then answer again, warm

The rule: every kind starts from files in the page cache, in a process that has run this architecture before, and ends
with an answer that is held against the module's own. The kinds take turns, model by model. Files that were made for a
model are removed before the next.

`models_bit_equal` counts the models that Instar answered bit by bit alike each time. B1 often does not: a stock
safetensors file places tensors on any 8-byte boundary, and torch's kernels then add in another order. An answer that
is not even close stops the benchmark.

`structure_ms` is what an executor takes that met the structure before and remembers it; `fresh_ms`, a column of its
own, what it takes where it has to be read back from the node's folder of compiled programs.

The *load part* of an answer is what it takes beyond a warm pass of the same round, but never less than the measured
load alone; else a slow warm pass could make loading look free.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from tqdm import tqdm

import instar
from instar.executor import load, prepare
from instar.executor.live import LiveModel
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.bench import figures, timing
from tests.models import zoo

FIGURES = (
    "first_answer_over_warm",
    "load_part_below_b0",
    "load_part_below_b1",
    "warm_over_module",
    "structure_ms_max",
    "models",
    "models_bit_equal",
)
QUICK_MODELS = ("mobilenetv2_w1", "densenet121", "resnet18")
ROUNDS, QUICK_ROUNDS = 11, 4


@dataclass(frozen=True, slots=True)
class Answer:
    """One measurement: from nothing loaded to the answer, the load alone, and a warm pass after it, in ms."""

    kind: str
    first_ms: float
    load_ms: float
    warm_ms: float
    structure_ms: float
    equal: bool
    fresh_ms: float = 0.0


class Subject:
    """One model with its files; owns the folder that they lie in."""

    def __init__(self, model: zoo.Model, folder: Path) -> None:
        self.model = model
        self.inputs = model.inputs(1)
        self.module = model.module()
        self.expected = self.answer(self.module)
        self.pt, self.safetensors, self.package = folder / "w.pt", folder / "w.safetensors", folder / "package"
        self.weights = self.package / WEIGHTS_FILE
        self.store = Store(folder / "store")
        self.fetcher = Fetcher(self.store)
        state = self.module.state_dict()
        torch.save(state, self.pt)
        safetensors.torch.save_file(state, self.safetensors)
        # What a module computes when it is built on a real device and no file holds: b1 gets it for nothing.
        self.unsaved = {name: buffer for name, buffer in self.module.named_buffers() if name not in state}
        instar.pack(self.module, self.inputs, self.package, dims=model.dims, bounds=model.bounds)

    def answer(self, module: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return module(**self.inputs)  # type: ignore[no-any-return]

    def is_equal(self, answer: torch.Tensor) -> bool:
        """Whether the answer is the module's, bit by bit. Raises `AssertionError` if it is another one altogether."""
        torch.testing.assert_close(answer, self.expected, rtol=1e-3, atol=1e-3)
        return torch.equal(answer, self.expected)


def warm(subject: Subject) -> Answer:
    answer, warm_ms = timing.warm(lambda: subject.answer(subject.module))
    return Answer("warm", warm_ms, 0.0, warm_ms, 0.0, subject.is_equal(answer))


def b0(subject: Subject) -> Answer:
    start = time.perf_counter()
    module = subject.model.build().eval()
    module.load_state_dict(torch.load(subject.pt, weights_only=True))
    loaded = time.perf_counter()
    answer = subject.answer(module)
    end = time.perf_counter()
    return Answer("b0", timing.ms(start, end), timing.ms(start, loaded), 0.0, 0.0, subject.is_equal(answer))


def b1(subject: Subject) -> Answer:
    start = time.perf_counter()
    with torch.device("meta"):
        module = subject.model.build().eval()
    module.load_state_dict(safetensors.torch.load_file(subject.safetensors), assign=True)
    for name, buffer in subject.unsaved.items():
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, buffer)
    loaded = time.perf_counter()
    answer = subject.answer(module)
    end = time.perf_counter()
    return Answer("b1", timing.ms(start, end), timing.ms(start, loaded), 0.0, 0.0, subject.is_equal(answer))


def ours(subject: Subject) -> Answer:
    start = time.perf_counter()
    prepared = load.structure(subject.package, store=subject.store)  # this and what follows are `load.begin`
    structured = time.perf_counter()
    model = LiveModel(prepared, lambda: subject.fetcher.begin(prepared.weights, subject.weights), load.bind)
    loaded = time.perf_counter()
    (answer,) = model.run(subject.inputs)
    end = time.perf_counter()
    again, warm_ms = timing.warm(lambda: model.run(subject.inputs)[0])
    equal = subject.is_equal(answer) and subject.is_equal(again)
    model.close()
    prepare.forget()
    forgotten = time.perf_counter()
    load.structure(subject.package, store=subject.store)
    fresh_ms = timing.ms(forgotten, time.perf_counter())
    structure_ms = timing.ms(start, structured)
    return Answer("instar", timing.ms(start, end), timing.ms(start, loaded), warm_ms, structure_ms, equal, fresh_ms)


KINDS: tuple[Callable[[Subject], Answer], ...] = (warm, b0, b1, ours)


def measure(model: zoo.Model, rounds: int, bar: tqdm[None]) -> list[dict[str, Answer]]:
    """The answers of every kind, a dict a round. What each kind does once before that warms everything up."""
    found: list[dict[str, Answer]] = [{} for _ in range(rounds)]
    with timing.folder() as folder:
        bar.set_description(f"{model.name}: pack")
        subject = Subject(model, folder)
        for kind in KINDS:
            kind(subject)
        bar.set_description(model.name)
        with timing.libraries_settled():
            for turn, kind in figures.interleaved(KINDS, rounds):
                with timing.no_collection():
                    answer = kind(subject)
                found[turn][answer.kind] = answer
                bar.update()
    return found


@dataclass(frozen=True, slots=True)
class Ratios:
    """What the figures are made of, a value a round, for one model."""

    b0_over_warm: list[float]
    b1_over_warm: list[float]
    first_over_warm: list[float]
    part_over_b0: list[float]
    part_over_b1: list[float]
    warm_over_module: list[float]
    structure_ms: list[float]


def ratios(rounds: Sequence[dict[str, Answer]]) -> Ratios:
    def part(turn: dict[str, Answer], kind: str) -> float:
        return max(turn[kind].first_ms - turn["warm"].warm_ms, turn[kind].load_ms)

    def over_warm(kind: str) -> list[float]:
        return [turn[kind].first_ms / turn["warm"].warm_ms for turn in rounds]

    return Ratios(
        b0_over_warm=over_warm("b0"),
        b1_over_warm=over_warm("b1"),
        first_over_warm=over_warm("instar"),
        part_over_b0=[part(turn, "instar") / part(turn, "b0") for turn in rounds],
        part_over_b1=[part(turn, "instar") / part(turn, "b1") for turn in rounds],
        warm_over_module=[turn["instar"].warm_ms / turn["warm"].warm_ms for turn in rounds],
        structure_ms=[turn["instar"].structure_ms for turn in rounds],
    )


def over_models(values: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Quartiles over the rounds for each model, then the geometric mean of each over the models."""
    lower, middle, upper = zip(*map(figures.quartiles, values), strict=True)
    return figures.geometric_mean(lower), figures.geometric_mean(middle), figures.geometric_mean(upper)


def below(lower_middle_upper: tuple[float, float, float]) -> tuple[float, float, float]:
    """How far below one a ratio lies: 0.97 means that 97% of the other's time is gone."""
    lower, middle, upper = lower_middle_upper
    return 1 - upper, 1 - middle, 1 - lower


def main() -> None:
    settings = figures.Settings.of(os.environ)
    models = [model for model in zoo.LARGE if not settings.quick or model.name in QUICK_MODELS]
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    with figures.reporting(FIGURES, settings) as report:
        measured: dict[str, list[dict[str, Answer]]] = {}
        with figures.progress(len(models) * rounds * len(KINDS), "models") as bar:
            for model in models:
                measured[model.name] = measure(model, rounds, bar)
        for name, turns in measured.items():
            for number, turn in enumerate(turns):
                for answer in turn.values():
                    report.row(model=name, round=number, **{f: getattr(answer, f) for f in Answer.__slots__})
        state(report, measured)


def state(report: figures.Report, measured: dict[str, list[dict[str, Answer]]]) -> None:
    by_model = {name: ratios(turns) for name, turns in measured.items()}
    found = list(by_model.values())
    report.place("first_answer_over_warm", over_models([r.first_over_warm for r in found]))
    report.place("load_part_below_b0", below(over_models([r.part_over_b0 for r in found])))
    report.place("load_part_below_b1", below(over_models([r.part_over_b1 for r in found])))
    report.place("warm_over_module", over_models([r.warm_over_module for r in found]))
    report.place(
        "structure_ms_max",
        max((figures.quartiles(r.structure_ms) for r in found), key=lambda quartiles: quartiles[1]),
    )
    report.state("models", len(measured))
    report.state(
        "models_bit_equal",
        sum(all(turn["instar"].equal for turn in turns) for turns in measured.values()),
    )
    report.say(_table(measured, by_model))


def _table(measured: dict[str, list[dict[str, Answer]]], by_model: dict[str, Ratios]) -> str:
    times = [
        (
            name,
            *(_median([turn[kind].first_ms for turn in turns]) for kind in ("warm", "b0", "b1", "instar")),
            *(_median([turn[kind].load_ms for turn in turns]) for kind in ("b0", "b1", "instar")),
            _median(by_model[name].structure_ms),
            _median([turn["instar"].fresh_ms for turn in turns]),
            *("yes" if all(turn[kind].equal for turn in turns) else "no" for kind in ("b0", "b1", "instar")),
        )
        for name, turns in measured.items()
    ]
    found = list(by_model.values())
    columns = (
        [r.b0_over_warm for r in found],
        [r.b1_over_warm for r in found],
        [r.first_over_warm for r in found],
        [r.warm_over_module for r in found],
        [r.part_over_b0 for r in found],
        [r.part_over_b1 for r in found],
    )
    shares = [(name, *(_median(column[row]) for column in columns)) for row, name in enumerate(by_model)]
    shares.append(("geometric mean", *(over_models(column)[1] for column in columns)))
    return "\n\n".join(
        (
            figures.table(
                (
                    *("first answer, ms", "warm", "B0", "B1", "Instar"),
                    *("load B0", "B1", "Instar", "structure", "fresh"),
                    *("equal B0", "B1", "Instar"),
                ),
                times,
            ),
            figures.table(
                ("over a warm pass", "B0", "B1", "Instar", "Instar warm", "load part over B0's", "over B1's"), shares
            ),
        )
    )


def _median(values: Sequence[float]) -> float:
    return figures.quartiles(values)[1]


if __name__ == "__main__":
    main()
