"""Packed models as a container finds them, kept between runs in `build/transform`.

The rule: what is kept lies under the digest of the code that made it, and only the newest stays. Weights lie in one
store, once, and are in the page cache when a run begins.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

import instar
from instar import digests, package
from instar.executor import load
from instar.executor.live import LiveModel
from instar.package import MODEL_FILE
from instar.plan.outline import Outline, outline
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.bench import residency
from tests.models import zoo

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "transform"


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A package, and its weights in the node's store."""

    model: zoo.Model
    folder: Path
    outline: Outline
    inputs: dict[str, torch.Tensor]
    fetcher: Fetcher

    @property
    def name(self) -> str:
        return self.model.name

    def live(self) -> LiveModel:
        return load.begin(self.folder, fetcher=self.fetcher)

    def idle(self) -> LiveModel:
        """A live model that has answered and rests, as it does after a second without a call."""
        live = self.live()
        live.run(self.inputs)
        live.rest()
        return live

    def answers(self) -> tuple[torch.Tensor, ...]:
        """What a fresh load answers."""
        live = self.live()
        found = live.run(self.inputs)
        live.close()
        return found


@contextmanager
def packed(models: Sequence[zoo.Model], told: Callable[[str], object]) -> Iterator[dict[str, Packed]]:
    """The models by name, packed if they are not kept from an earlier run. `told` is told what is being packed."""
    folder = KEPT / _made_by()[:16]
    for old in [*KEPT.iterdir()] if KEPT.is_dir() else []:
        if old != folder:
            shutil.rmtree(old)
    fetcher = Fetcher(Store(folder / "store"))
    try:
        yield {model.name: _packed(model, folder, fetcher, told) for model in models}
    finally:
        fetcher.close()


def _packed(model: zoo.Model, folder: Path, fetcher: Fetcher, told: Callable[[str], object]) -> Packed:
    place = folder / model.name
    if not place.exists():
        told(model.name)
        making = folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        instar.pack(model.module(), model.inputs(1), making, dims=model.dims, bounds=model.bounds)
        live = load.begin(making, fetcher=fetcher)
        live.wait()
        live.close()
        fetcher.settle()
        (making / WEIGHTS_FILE).unlink()  # the store has them
        making.rename(place)
    decoded = package.decode((place / MODEL_FILE).read_bytes())
    residency.fill(fetcher.store.place(decoded.weights.digest))
    return Packed(model, place, outline(decoded), model.inputs(1), fetcher)


def _made_by() -> str:
    runtime, tests = ROOT / "runtime" / "instar", ROOT / "tests"
    sources = [*sorted((runtime / "graph").iterdir()), runtime / "weights" / "layout.py"]
    sources += [runtime / "packing.py", runtime / "package.py", tests / "models" / "zoo.py"]
    sources += [tests / "transform" / "families.py", tests / "bench" / "transform_models.py"]
    content = [path.read_bytes() for path in sources if path.is_file()]
    return digests.hexdigest(b"".join([torch.__version__.encode(), *content]))
