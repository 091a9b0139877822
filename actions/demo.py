"""`make demo`: pack real models, serve them on this machine, ask them about real photographs and sentences.

Every answer goes the whole way: HTTP request, server, container, handler, model, and back. It is held against what is
known of the photograph or the sentence, and against the plain PyTorch module, which must give the same numbers.

Then each action is started in each way there is: cold, in a container that was waiting for nobody in particular, in
the idle container of another action, which becomes this one (Lite0 → Lite1 → Lite2 → MiniLM), and in its own.

`QUICK=1` takes fewer repeats, `JSON=1` prints one JSON object (see `tests/bench/figures.py`).
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from actions.classify.picture import decode, pixels
from actions.local import Invoked, Server, profiled, serving
from tests.bench import figures
from tokenizers import Tokenizer

from actions import build, examples

WAYS = ("cold", "prewarmed", "transformed", "warm")
FIGURES = (*(f"{way}_ms" for way in WAYS), "images_right", "images_shown", "sentences_right")
CLASSIFIERS = ("classify-lite0", "classify-lite1", "classify-lite2")
KIND = "pytorch:2"
# Stem cells wait with the first amount of memory only; containers of others are taken with the last one only.
PREWARMED_MB, COLD_MB, SHARED_MB = 512, 384, 640
ALONE = {"sharing": "none"}
IDLE_S = 0.5  # after which a container may become another action; 60 would be usual
SERVER_MB = 16 * PREWARMED_MB  # counted, not used: enough that a stem cell always finds room
KEEP_ALIVE_S = 20.0  # longer than all ways of one action; those are replaced, and old containers are of no use
TOP = 5


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done."""

    fresh: int = 5  # how often each action is started cold, and prewarmed
    warm: int = 4  # how often it is called again after each cold start
    views: int = 3  # how many of the classifiers see each photograph


QUICK = Effort(fresh=1, warm=5, views=1)


class Demo:
    """One run: what was asked, what came back, and the report of it."""

    def __init__(self, server: Server, archives: dict[str, Path], report: figures.Report) -> None:
        self.server = server
        self.archives = archives
        self.report = report
        self.unequal = 0
        self.answers: dict[str, dict[str, Any]] = {}  # the first one to the question that is asked of every start
        self.times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def create(self, name: str, memory_mb: int, *, action: str = "", **annotations: str) -> None:
        code = self.archives[name]
        self.server.create(action or name, code, kind=KIND, memory_mb=memory_mb, annotations=annotations)

    def timed(self, name: str, arguments: dict[str, Any], expected_start: str, *, action: str = "") -> Invoked:
        """Invoke and note the time. Raises `RuntimeError` if the container started in another way than was meant."""
        invoked = self.server.invoke(action or name, arguments)
        if invoked.start != expected_start:
            raise RuntimeError(f"{name} was to start {expected_start} and started {invoked.start}")
        self.times[name][invoked.start].append(invoked.elapsed_ms)
        self.report.row(action=name, start=invoked.start, ms=invoked.elapsed_ms, **invoked.times_ms)
        self.unequal += self.answers.setdefault(name, invoked.result) != invoked.result
        return invoked


def main() -> None:
    settings = figures.Settings.of(os.environ)
    effort = QUICK if settings.quick else Effort()
    with figures.reporting(FIGURES, settings) as report:
        with tempfile.TemporaryDirectory(prefix="instar-demo-") as folder:
            demo = run(Path(folder), report, effort)
        for start in WAYS:
            report.measure(f"{start}_ms", [ms for times in demo.times.values() for ms in times[start]])
        report.say(times_table(demo))
    if demo.unequal:
        sys.exit(f"{demo.unequal} answers are not those of the plain PyTorch modules")


def run(folder: Path, report: figures.Report, effort: Effort) -> Demo:
    """Pack, serve, ask; everything that was started has ended afterwards."""
    archives = pack(folder / "build")
    # Before anything is served: what computes here would take the processor from the server.
    environ = profiled(folder, quick=effort == QUICK)
    classes, vectors = plain_classes(effort), plain_vectors(examples.SENTENCES)
    cells = f"{KIND}:{PREWARMED_MB}:1"
    options = ("--idle-threshold", str(IDLE_S))
    with serving(
        folder, *options, prewarm=[cells], memory_mb=SERVER_MB, keep_alive_s=KEEP_ALIVE_S, environ=environ
    ) as server:
        server.await_event("prewarmed")
        server.create("hello", build.HERE / "hello" / "hello.py", kind="python:3", memory_mb=128)
        report.say(f"hello says: {server.invoke('hello', {'name': 'Ada'}).result['greeting']}")
        demo = Demo(server, archives, report)
        for name in archives:
            demo.create(name, COLD_MB)
        show_photographs(demo, classes)
        show_sentences(demo, vectors)
        start_in_each_way(demo, effort)
    return demo


def pack(out: Path) -> dict[str, Path]:
    """The zip of each action, by name."""
    archives = {}
    with figures.progress(100 * len(build.RECIPES), "pack") as bar:
        for number, name in enumerate(build.RECIPES):
            bar.set_description(f"pack {name}")

            def progress(_what: str, done: int, total: int, number: int = number) -> None:
                bar.update(100 * number + 100 * done // max(total, 1) - bar.n)

            archives[name] = build.build(name, out, progress=progress)
            bar.update(100 * (number + 1) - bar.n)
    return archives


def show_photographs(demo: Demo, expected: dict[tuple[str, Path], list[tuple[float, int]]]) -> None:
    """Each photograph to the classifiers that are expected to see it."""
    photographs = examples.photographs()
    labels = (build.HERE / "classify" / "classes.txt").read_text(encoding="utf-8").splitlines()
    right, said = 0, {}
    with figures.progress(len(expected), "photographs") as bar:
        for name in CLASSIFIERS:  # one after the other, so that each stays warm
            for photograph in photographs:
                if (name, photograph.path) not in expected:
                    continue
                classes = demo.server.invoke(name, picture(photograph)).result["classes"]
                found = [(one["probability"], one["index"]) for one in classes]
                equal = found == expected[name, photograph.path]
                is_right = classes[0]["index"] == photograph.index
                demo.unequal += not equal
                right += is_right
                said[name, photograph.path] = f"{classes[0]['label']} {classes[0]['probability']:.0%}"
                file = photograph.path.name
                demo.report.row(action=name, photograph=file, classes=classes, right=is_right, equal=equal)
                bar.update()
    lines = [
        (one.path.name, labels[one.index], *(said.get((name, one.path), "") for name in CLASSIFIERS))
        for one in photographs
    ]
    demo.report.say(figures.table(("photograph", "shows", *CLASSIFIERS), lines))
    demo.report.state("images_right", right)
    demo.report.state("images_shown", len(expected))


def show_sentences(demo: Demo, expected: list[list[float]]) -> None:
    """All sentences at once; the nearest one to each must be the one that means the same."""
    sentences = examples.SENTENCES
    result = demo.server.invoke("embed", {"texts": sentences}).result
    similarities = result["similarities"]
    equal = result["vectors"] == expected
    demo.unequal += not equal
    others = [[(row[j], j) for j in range(len(row)) if j != i] for i, row in enumerate(similarities)]
    right = sum(max(other)[1] == examples.partner(i) for i, other in enumerate(others))
    closest, i, j = max((*max(other), i) for i, other in enumerate(others))
    demo.report.row(action="embed", sentences=sentences, similarities=similarities, right=right, equal=equal)
    demo.report.state("sentences_right", right)
    demo.report.say(
        f"The two closest of {len(sentences)} sentences ({closest:.2f}):\n  {sentences[i]}\n  {sentences[j]}\n"
        f"The nearest neighbour of {right} of them means the same."
    )


def start_in_each_way(demo: Demo, effort: Effort) -> None:
    """Each action in each way in turn, with nothing else going on in the server."""
    first = picture(examples.photographs()[0])
    arguments = {name: {"texts": examples.SENTENCES[:2]} if name == "embed" else first for name in demo.archives}
    with figures.progress((effort.fresh + 1) * len(arguments), "starts") as bar:
        for turn in range(effort.fresh + 1):
            for name in arguments:
                if turn:  # before that there is no container to be had of another action
                    demo.create(name, COLD_MB, **ALONE)
                    demo.timed(name, arguments[name], "cold")
                    for _ in range(effort.warm):
                        demo.timed(name, arguments[name], "warm")
                    demo.create(name, PREWARMED_MB, **ALONE)
                    demo.timed(name, arguments[name], "prewarmed")
                    demo.server.await_event("prewarmed")  # the cell that was taken is replaced
                shared = f"{name}-shared"  # the other one was annotated, and an update leaves annotations as they are
                demo.create(name, SHARED_MB, action=shared)
                time.sleep(2 * IDLE_S)  # only time makes a container idle, and plans are made meanwhile
                if turn:
                    demo.timed(name, arguments[name], "transformed", action=shared)
                else:
                    demo.server.invoke(shared, arguments[name])
                bar.update()


def picture(photograph: examples.Photograph) -> dict[str, Any]:
    """The request that shows a photograph."""
    return {"image": base64.b64encode(photograph.path.read_bytes()).decode(), "top": TOP}


def plain_classes(effort: Effort) -> dict[tuple[str, Path], list[tuple[float, int]]]:
    """What the plain modules say of each photograph: the `TOP` probabilities with their classes.

    Each photograph is for as many classifiers as `effort` says, which take turns.
    """
    found = {}
    photographs = examples.photographs()
    with figures.progress(effort.views * len(photographs), "plain PyTorch") as bar:
        for turn, name in enumerate(CLASSIFIERS):
            module = build.module(name)
            size = int(build.RECIPES[name].inputs["inputs"][1][-1])
            for number, photograph in enumerate(photographs):
                if (turn - number) % len(CLASSIFIERS) >= effort.views:
                    continue
                values = pixels(decode(picture(photograph)["image"]), size=size)
                with torch.inference_mode():
                    top = module(torch.from_numpy(values)).softmax(dim=1)[0].topk(TOP)
                found[name, photograph.path] = list(zip(top.values.tolist(), top.indices.tolist(), strict=True))
                bar.update()
    return found


def plain_vectors(sentences: list[str]) -> list[list[float]]:
    """What the plain module makes of sentences."""
    tokenizer = Tokenizer.from_file(str(build.RECIPES["embed"].fetched["tokenizer.json"]()))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(sentences)
    with torch.inference_mode():
        vectors = build.module("embed")(
            torch.tensor([one.ids for one in encodings]), torch.tensor([one.attention_mask for one in encodings])
        )
    return vectors.tolist()  # type: ignore[no-any-return]


def times_table(demo: Demo) -> str:
    def lines() -> Iterator[tuple[object, ...]]:
        for name, times in demo.times.items():
            for start in WAYS:
                lower, middle, upper = figures.quartiles(times[start])
                yield name, start, len(times[start]), lower, middle, upper

    return figures.table(
        ("ms to the answer", "start", "times", "lower quartile", "median", "upper quartile"), lines()
    )


if __name__ == "__main__":
    main()
