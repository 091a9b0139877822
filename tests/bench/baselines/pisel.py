"""PISeL (CIKM'24): downloading, loading and running overlap, partition after partition of consecutive layers.

    main thread    builds the module with its default initialisation, then runs it; a layer with parameters waits for
                   its lock, one without has none
    downloader     the partitions in order; the request for the next one leaves when no more than the cover is left
    loader         binds the layers of each partition, in order, and opens their locks

The partitions come from PISeL's solver, with times that were measured beforehand. Where its publication leaves room,
the faster way was taken: downloading begins before the module is built, and loading binds views instead of copying.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import torch

from tests.bench.baselines import layers
from tests.bench.baselines.origin import Origin, Reader
from tests.bench.baselines.threads import WAIT_S, Thread, wait


def answer(
    origin: Origin,
    checkpoint: layers.Checkpoint,
    partitions: Sequence[tuple[int, int]],
    cover_bytes: int,
    build: Callable[[], torch.nn.Module],
    run: Callable[[torch.nn.Module], torch.Tensor],
) -> torch.Tensor:
    """The first answer. `partitions` are groups of layers, from the first to the last (exclusive)."""
    arrived: queue.SimpleQueue[tuple[int, int, torch.Tensor]] = queue.SimpleQueue()
    locks = [threading.Event() for _ in checkpoint.layers]
    built = threading.Event()
    module: list[torch.nn.Module] = []

    def download() -> None:
        _download(origin, [_span(checkpoint, *partition) for partition in partitions], cover_bytes, arrived)

    def load() -> None:
        parts: dict[str, torch.nn.Module] = {}
        for first, last in partitions:
            start, _, buffer = arrived.get(timeout=WAIT_S)
            if not parts:
                wait(built)
                parts.update(module[0].named_modules(remove_duplicate=False))
            for number in range(first, last):
                layers.bind(parts, checkpoint.layers[number], buffer, start)
                locks[number].set()

    with Thread("downloader", download), Thread("loader", load):
        module.append(build().eval())
        layers.lock(module[0], checkpoint.layers, lambda number: wait(locks[number]))
        built.set()
        return run(module[0])


def _span(checkpoint: layers.Checkpoint, first: int, last: int) -> tuple[int, int]:
    spans = [(layer.begin, layer.end) for layer in checkpoint.layers[first:last] if layer.tensors]
    return (spans[0][0], spans[-1][1]) if spans else (0, 0)


def _download(
    origin: Origin,
    spans: Sequence[tuple[int, int]],
    cover_bytes: int,
    arrived: queue.SimpleQueue[tuple[int, int, torch.Tensor]],
) -> None:
    """One partition after the other, each into memory of its own."""
    # A second connection only because HTTP/1.1 gives no second answer on the first before it has ended.
    readers: list[Reader] = [origin.reader(), origin.reader()]
    try:
        asked = 0

        def ask() -> None:
            nonlocal asked
            if asked < len(spans):
                begin, end = spans[asked]
                if end > begin:
                    readers[asked % 2].ask(begin, end - begin)
                asked += 1

        ask()
        for number, (begin, end) in enumerate(spans):
            buffer, view = layers.memory(end - begin)
            covered = max(0, end - begin - cover_bytes)
            if covered:
                readers[number % 2].take(view[:covered])
            ask()
            if end - begin > covered:
                readers[number % 2].take(view[covered : end - begin])
            arrived.put((begin, end, buffer))
    finally:
        for reader in readers:
            reader.close()
