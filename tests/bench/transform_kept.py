"""Packed models, kept between runs in `build/transform`, and brought into a node's store of each run's own.

The rule: what is kept lies under the digest of the code that made it, and only the newest stays. Weights come into
the store as they do on a node: a file that arrives lies in the page cache in larger pieces than one that is read back
from the disk, and a first answer finds its pages sooner (a ResNet-50 with 103 page faults instead of 464).
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
from instar.plan.outline import Outline, outline
from instar.weights.fetch import Fetcher
from instar.weights.store import Store
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
def packed(models: Sequence[zoo.Model], store: Path, told: Callable[[str], object]) -> Iterator[dict[str, Packed]]:
    """The models by name, with their weights in a new `store`. `told` is told what is being packed, or fetched."""
    folder = KEPT / _made_by()[:16]
    for old in [*KEPT.iterdir()] if KEPT.is_dir() else []:
        if old != folder:
            shutil.rmtree(old)
    fetcher = Fetcher(Store(store))
    try:
        yield {model.name: _packed(model, folder / model.name, fetcher, told) for model in models}
    finally:
        fetcher.close()


def _packed(model: zoo.Model, place: Path, fetcher: Fetcher, told: Callable[[str], object]) -> Packed:
    inputs = model.inputs(1)
    if not place.exists():
        told(f"{model.name}: pack")
        instar.pack(model.module(), inputs, place, dims=model.dims, bounds=model.bounds)
    told(f"{model.name}: fetch")
    found = Packed(model, place, outline(package.decode(package.read(place))), inputs, fetcher)
    live = found.live()
    live.wait()
    live.close()
    fetcher.settle()
    return found


def _made_by() -> str:
    runtime, tests = ROOT / "runtime" / "instar", ROOT / "tests"
    sources = [*sorted((runtime / "graph").iterdir()), runtime / "weights" / "layout.py"]
    sources += [runtime / "packing.py", runtime / "package.py", tests / "models" / "zoo.py"]
    sources += [tests / "transform" / "families.py", tests / "bench" / "transform_models.py"]
    content = [path.read_bytes() for path in sources if path.is_file()]
    return digests.hexdigest(b"".join([torch.__version__.encode(), *content]))
