"""A live model becomes another one in place, where loading that one afresh would begin with nothing.

The rule: afterwards it is the target in every respect, bit by bit, and nothing of the source can be read; or it is
dirty and never runs again. There is nothing between.

Weights are never copied, so what a transformation does is little: it has the target's file mapped over the addresses
of the source's, keeps each tensor that looks at the place at which the target has an equal one, makes the others, and
changes the program last. Which operator of the source became which of the target is for plans to say; what is done
depends only on where things lie. Weights that are not on the node yet arrive as they would for a fresh load.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache
from operator import eq
from pathlib import Path

import torch

from instar.executor import load
from instar.executor.live import Bring, LiveModel
from instar.executor.mapping import Bound
from instar.executor.prepare import Prepared
from instar.weights import kernel
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.pipeline import Urgency


def into(
    model: LiveModel,
    package_dir: Path,
    *,
    fetcher: Fetcher,
    own: Path | None = None,
    urgency: Urgency = Urgency.TRANSFORMATION,
) -> None:
    """Turn a live model into that of another package; its weights may still be arriving then.

    `urgency` is theirs; what a run waits for comes first all the same. `own` is where compiled programs are kept if
    the store may only be read. Raises `PackageError` if the package is damaged or forged, and then nothing was
    touched; otherwise as `transform` does.
    """
    target = load.structure(package_dir, store=fetcher.store, own=own)
    transform(model, target, load.bringing(target, package_dir, fetcher=fetcher, urgency=urgency))


def transform(model: LiveModel, target: Prepared, bring: Bring) -> None:
    """Turn a live model into `target`, whose weights `bring` has brought.

    Raises `BusyError` if somebody runs the model, and then nothing was touched. After any other error, which is a
    `TransformationError` with its cause, the model is dirty: what is left to do is to close it and load afresh.
    """
    model.become(target, bring, rebind)


def forget() -> None:
    """Give back the freed memory of this process, in which copies of weights, inputs and outputs of runs still lie.

    For a moment in which nobody waits: it takes some milliseconds, and the next run has to get its memory anew (a
    ResNet-50 took 1.23 times a warm run, 2 processors). No graph can read freed memory; this is for who wants it gone
    all the same. It leaves what docs/architecture.md says.
    """
    with suppress(AttributeError):  # a torch without MKL, which keeps packed weights in buffers of its own
        _torch().mkl_serv_free_buffers()
    kernel.trim()


@cache
def _torch() -> ctypes.CDLL:
    return ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))


def rebind(bound: Bound, source: Prepared, target: Prepared, arrival: Arrival) -> Bound:
    """The target's weights at the addresses of the source's, of which nothing can be read any more."""
    if not bound.mapping.has_room(target.weights.size):
        bound.mapping.hide()
        return load.bind(target, arrival)
    bound.mapping.show(arrival.descriptor, target.weights.size)
    # A view says all about a tensor: where it lies, what it holds, its shape. Offsets grow with the position, so
    # equal ones stand at equal positions.
    kept = bound.weights
    same = [*map(eq, source.views, target.views)]
    if all(same) and len(kept) == len(target.views):
        return bound
    if not any(same):
        return Bound(bound.mapping, bound.mapping.views(target.views))
    same += [False] * (len(target.views) - len(same))
    lacking = [view for view, is_there in zip(target.views, same, strict=True) if not is_there]
    made = iter(bound.mapping.views(lacking))
    return Bound(bound.mapping, [kept[i] if is_there else next(made) for i, is_there in enumerate(same)])
