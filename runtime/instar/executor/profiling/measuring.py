"""How long one transformation takes, and how long one load takes where it is done instead.

The rule: what is timed is what an executor does at `/transform`, no more and no less, and both ways begin and end
alike. At first there is a model that has been run and has rested, as an idle one has: the processor's caches hold
other things by now, and the target's structure is kept on the node but not remembered by this process. At last there
is nothing of the old model, and the target is bound to its weights. To transform is to read the structure, bring the
weights and rebind; to load is to close the old model and begin the new one. The proof that a plan arrives, which
comes before, is part of neither.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from instar.errors import PlanError
from instar.executor import load, prepare, transform
from instar.executor.live import LiveModel
from instar.executor.profiling.subjects import Subject
from instar.weights.fetch import Fetcher

COLD_BYTES = 64 << 20  # more than the caches of a processor hold for one process
TRIES = 3  # where weights were not in memory any more


def transformation_ns(source: Subject, target: Subject, fetcher: Fetcher) -> int:
    """Nanoseconds to transform one model into the other. Raises `PlanError` if weights do not stay in memory."""
    for _ in range(TRIES):
        with _idle(source, fetcher) as model:
            began = time.perf_counter_ns()
            transform.into(model, target.folder, fetcher=fetcher)
            took = time.perf_counter_ns() - began
            if model.is_ready:
                return took
            model.wait()
    raise _not_in_memory(target)


def load_ns(source: Subject, target: Subject, fetcher: Fetcher) -> int:
    """Nanoseconds to load one model where the other was. Raises `PlanError` if weights do not stay in memory."""
    for _ in range(TRIES):
        with _idle(source, fetcher) as model:
            began = time.perf_counter_ns()
            model.close()
            fresh = load.begin(target.folder, fetcher=fetcher)
            took = time.perf_counter_ns() - began
            is_ready = fresh.is_ready
            fresh.wait()
            fresh.close()
            if is_ready:
                return took
    raise _not_in_memory(target)


@contextmanager
def _idle(subject: Subject, fetcher: Fetcher) -> Iterator[LiveModel]:
    """A model as it is when nobody has called it for a while. No garbage is collected while it is there."""
    model = load.begin(subject.folder, fetcher=fetcher)
    try:
        model.wait()
        model.run(subject.inputs)
        model.rest()
        prepare.forget()
        gc.collect()
        gc.disable()
        _ballast().sum()  # after this the caches hold nothing of it
        yield model
    finally:
        gc.enable()
        model.close()


@cache
def _ballast() -> torch.Tensor:
    # Once: memory that is new each time is what takes longest on a virtual machine.
    return torch.ones(COLD_BYTES // 4)


def _not_in_memory(subject: Subject) -> PlanError:
    return PlanError(
        f"the {subject.outline.file_bytes} bytes of weights of {subject.name} were not in memory {TRIES} times, so "
        "nothing can be measured with them; end other programs, or measure with --quick"
    )
