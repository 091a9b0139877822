"""All the small models, packed once and loaded afresh once: what a transformation has to arrive at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import instar
from instar.executor import load
from instar.executor.live import LiveModel
from instar.executor.prepare import Prepared
from instar.weights.fetch import Fetcher
from instar.weights.store import Store
from tests.models import zoo
from tests.transform import families
from tests.weights import in_memory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not count the time that packing takes, once, against the test that happens to come first."""
    for item in items:
        if "packed" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A packed model, its weights in the node's store, and what it has and answers after a fresh load."""

    name: str
    directory: Path
    prepared: Prepared
    inputs: dict[str, torch.Tensor]
    answers: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...]

    def load(self, fetcher: Fetcher) -> LiveModel:
        model = load.begin(self.directory, fetcher=fetcher)
        model.wait()
        return model

    def check(self, model: LiveModel) -> None:
        """A live model is this one: identity, every tensor, every bit of the answers."""
        assert (model.digest, model.structure_digest) == (self.prepared.digest, self.prepared.structure_digest)
        assert model.signature == self.prepared.signature
        found = weights(model)
        assert len(found) == len(self.weights)
        for tensor, wanted in zip(found, self.weights, strict=True):
            assert (tensor.dtype, tensor.shape, tensor.stride()) == (wanted.dtype, wanted.shape, wanted.stride())
            assert torch.equal(tensor, wanted)
        for got, wanted in zip(model.run(self.inputs), self.answers, strict=True):
            assert torch.equal(got, wanted)


def weights(model: LiveModel) -> list[torch.Tensor]:
    """The tensors that a live model computes with."""
    found = model._names["weights"]
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transform")


@pytest.fixture(scope="session")
def fetcher(root: Path) -> Iterator[Fetcher]:
    fetcher = Fetcher(Store(root / "store"))
    yield fetcher
    fetcher.close()


@pytest.fixture(scope="session")
def packed(root: Path, fetcher: Fetcher) -> Iterator[dict[str, Packed]]:
    """By name. Not to be changed."""
    found = {model.name: _packed(model, root / model.name, fetcher) for model in families.ALL}
    places = [fetcher.store.place(packed.prepared.weights.digest) for packed in found.values()]
    with in_memory.kept(places):
        for thread in threading.enumerate():  # nothing is under way any more, and so it stays
            if thread.name == "instar-fetch":
                thread.join(60)
        yield found


def _packed(model: zoo.Model, directory: Path, fetcher: Fetcher) -> Packed:
    module, inputs = model.module(), model.inputs(2)
    instar.pack(module, inputs, directory, dims=model.dims, bounds=model.bounds)
    live = load.begin(directory, fetcher=fetcher)
    live.wait()
    fetcher.settle()
    answers = live.run(inputs)
    with torch.inference_mode():
        of_module = torch.utils._pytree.tree_leaves(module(**inputs))
    assert all(torch.equal(a, b) for a, b in zip(answers, of_module, strict=True))
    kept = tuple(tensor.clone() for tensor in weights(live))
    live.close()
    return Packed(model.name, directory, load.structure(directory, store=fetcher.store), inputs, answers, kept)
