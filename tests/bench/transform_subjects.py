"""The ways to a first answer of one model that are compared with each other.

    b0         build with initialisation, `torch.load`, `load_state_dict` (copies)
    b1         build on the meta device, safetensors, `load_state_dict(assign=True)`
    b2         unpickle a skeleton that was kept, and bind views of an own mapping, aligned, in running order
    scratch    Instar's own load, in an executor that holds nothing
    transform  in an executor that holds another model: make this one of it, in place
    load       in the same executor: let go of the other model, and load

The rule: each way starts in a process that has run both models before, with all files in the page cache, and ends
with an answer that is held against that of a fresh load, bit by bit. A live model has run and rests before it makes
room, as one that idles does. Instar's ways begin with the structure kept on the node but not remembered by the
process, since a donor has seldom met the function that it becomes; B2's skeleton lies in memory.

`transform` is what the executor does once a plan has been proven; the proof is no part of it.
"""

from __future__ import annotations

import mmap
import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

from instar.executor import load, prepare, transform
from instar.executor.live import Bring, LiveModel
from instar.executor.prepare import Prepared
from instar.weights.pipeline import Urgency
from tests.bench import residency, timing
from tests.bench.baselines import assigned, layers
from tests.bench.transform_figures import LOAD, TRANSFORM, Taken
from tests.bench.transform_kept import Packed

TOLERANCE = 1e-3  # of baselines whose tensors lie at other addresses
WARM, SCRATCH = "warm", "scratch"
BASELINES = ("b0", "b1", "b2")
REFERENCES = (WARM, *BASELINES, SCRATCH)


class Target:
    """One model that others become, and what the baselines need of it. Owns the files in its folder."""

    def __init__(self, packed: Packed, folder: Path) -> None:
        self.packed = packed
        self.folder = folder
        self.nbytes = packed.outline.file_bytes
        self.module = packed.model.module()
        state = self.module.state_dict()
        torch.save(state, folder / "w.pt")
        safetensors.torch.save_file(state, folder / "w.safetensors")
        # What a module computes when it is built on a real device and no file holds.
        self.unsaved = {name: buffer for name, buffer in self.module.named_buffers() if name not in state}
        self.checkpoint = layers.write(self.module, lambda: self.answer(self.module), folder / "w.layers")
        self.skeleton = pickle.dumps(assigned.on_meta(packed.model.build, self.unsaved))
        (self.expected,) = packed.answers()
        timing.settle(folder)

    def answer(self, module: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return module(**self.packed.inputs)  # type: ignore[no-any-return]

    def is_equal(self, answer: torch.Tensor) -> bool:
        """Whether an answer is a fresh load's, bit by bit. `AssertionError` if it is not even close."""
        torch.testing.assert_close(answer, self.expected, rtol=TOLERANCE, atol=TOLERANCE)
        return torch.equal(answer, self.expected)

    def reference(self, name: str) -> Taken:
        """A way that knows nothing of another model; `WARM` is a pass of the plain module, which has run before."""
        match name:
            case "warm":
                answer, warm_ms = timing.warm(lambda: self.answer(self.module))
                return Taken(0.0, 0.0, warm_ms, warm_ms, self.is_equal(answer))
            case "b0":
                residency.touch_free_memory(self.folder, 2 * self.nbytes)  # it alone takes memory for the weights
                return self._baseline(self._b0)
            case "b1":
                return self._baseline(self._b1)
            case "b2":
                return self._baseline(self._b2)
            case "scratch":
                return self._instar(None, _begun, is_warm_wanted=True)
        raise ValueError(f"no reference {name!r}")

    def way(self, name: str, source: Packed, *, is_warm_wanted: bool) -> Taken:
        """`TRANSFORM` or `LOAD`, beginning with a live and idle `source`."""
        act = {TRANSFORM: _transformed, LOAD: _loaded}[name]
        return self._instar(source.idle(), act, is_warm_wanted=is_warm_wanted)

    # What people do with PyTorch.

    def _b0(self) -> torch.nn.Module:
        module = self.packed.model.build().eval()
        module.load_state_dict(torch.load(self.folder / "w.pt", weights_only=True))
        return module

    def _b1(self) -> torch.nn.Module:
        module = assigned.on_meta(self.packed.model.build, self.unsaved)
        module.load_state_dict(safetensors.torch.load_file(self.folder / "w.safetensors"), assign=True)
        return module

    def _b2(self) -> torch.nn.Module:
        module: torch.nn.Module = pickle.loads(self.skeleton)
        buffer = _mapped(self.checkpoint.path)
        parts = dict(module.named_modules(remove_duplicate=False))
        for layer in self.checkpoint.layers:
            layers.bind(parts, layer, buffer, 0)
        return module

    def _baseline(self, build: Callable[[], torch.nn.Module]) -> Taken:
        with timing.no_collection():
            start = time.perf_counter()
            module = build()
            bound = time.perf_counter()
            answer = self.answer(module)
            end = time.perf_counter()
        return Taken(0.0, timing.ms(start, bound), timing.ms(start, end), None, self.is_equal(answer))

    # What Instar does.

    def _instar(
        self,
        old: LiveModel | None,
        act: Callable[[LiveModel | None, Prepared, Bring], LiveModel],
        *,
        is_warm_wanted: bool,
    ) -> Taken:
        packed, again, warm_ms = self.packed, None, None
        prepare.forget()
        with timing.no_collection():
            start = time.perf_counter()
            prepared = load.structure(packed.folder, store=packed.fetcher.store)
            bring = load.bringing(prepared, packed.folder, fetcher=packed.fetcher, urgency=Urgency.REQUEST)
            structured = time.perf_counter()
            live = act(old, prepared, bring)
            bound = time.perf_counter()
            (answer,) = live.run(packed.inputs)
            end = time.perf_counter()
            if is_warm_wanted:
                again, warm_ms = timing.warm(lambda: live.run(packed.inputs)[0])
        live.close()
        return Taken(
            structure_ms=timing.ms(start, structured),
            bound_ms=timing.ms(start, bound),
            first_ms=timing.ms(start, end),
            warm_ms=warm_ms,
            is_equal=self.is_equal(answer) and (again is None or self.is_equal(again)),
        )


def _begun(old: LiveModel | None, prepared: Prepared, bring: Bring) -> LiveModel:
    assert old is None
    return LiveModel(prepared, bring, load.bind)


def _loaded(old: LiveModel | None, prepared: Prepared, bring: Bring) -> LiveModel:
    assert old is not None
    old.close()
    return LiveModel(prepared, bring, load.bind)


def _transformed(old: LiveModel | None, prepared: Prepared, bring: Bring) -> LiveModel:
    assert old is not None
    transform.transform(old, prepared, bring)
    return old


def _mapped(path: Path) -> torch.Tensor:
    """A file's bytes, to be read only."""
    with path.open("rb") as file, warnings.catch_warnings():
        mapping = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
        warnings.simplefilter("ignore", UserWarning)  # torch warns that writing to it would crash
        return torch.frombuffer(mapping, dtype=torch.uint8)
