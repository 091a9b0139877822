"""Each baseline gives the module's answer, from a source and from a file, whatever its tensors are tied to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.bench import throttled
from tests.bench.baselines import assigned, cicada, layers, ordinary, pisel
from tests.bench.baselines.origin import Local, Remote
from tests.models.zoo import unlike


class Awkward(nn.Module):
    """Tied weights, buffers that are saved and not saved, a layer without parameters, one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.norm = nn.BatchNorm1d(64)
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
        self.uncalled = nn.Linear(64, 64)
        self.head = nn.Linear(64, 50)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.arange(64) / 64, persistent=False)
        self.register_buffer("shift", torch.zeros(64))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embedding(tokens)) * self.scale + self.shift
        x = nn.functional.linear(self.layers(x), self.uncalled.weight, self.uncalled.bias)
        return self.head(x)  # type: ignore[no-any-return]


class Files:
    """The module, an answer of it, and its files."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(20)
        self.folder = folder
        self.module = Awkward().eval()
        unlike(self.module)
        self.module.scale = Awkward().scale  # a module that is built anew computes it
        tokens = torch.arange(7)
        with torch.inference_mode():
            self.expected = self.module(tokens)
        self.tokens = tokens
        state = self.module.state_dict()
        torch.save(state, folder / "w.pt")
        safetensors.torch.save_file({name: t.clone() for name, t in state.items()}, folder / "w.safetensors")
        self.checkpoint = layers.write(self.module, lambda: self.run(self.module), folder / "w.layers")
        self.unsaved: dict[str, torch.Tensor] = {"scale": self.module.get_buffer("scale")}

    def run(self, module: nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return module(self.tokens)  # type: ignore[no-any-return]

    def by_ordinary(self, origin: Callable[[str], Remote | Local]) -> torch.Tensor:
        size = (self.folder / "w.pt").stat().st_size
        return ordinary.answer(origin("w.pt"), size, Awkward, self.run, folder=self.folder)

    def by_assigned(self, origin: Callable[[str], Remote | Local]) -> torch.Tensor:
        size = (self.folder / "w.safetensors").stat().st_size
        return assigned.answer(
            origin("w.safetensors"), size, Awkward, self.run, unsaved=self.unsaved, folder=self.folder
        )

    def by_pisel(self, origin: Callable[[str], Remote | Local]) -> torch.Tensor:
        count = len(self.checkpoint.layers)
        partitions = [(0, 1), (1, count - 1), (count - 1, count)]
        return pisel.answer(origin("w.layers"), self.checkpoint, partitions, 1000, Awkward, self.run)

    def by_cicada(self, origin: Callable[[str], Remote | Local]) -> torch.Tensor:
        ranges = cicada.cut(self.checkpoint, 4096)
        return cicada.answer(origin("w.layers"), self.checkpoint, ranges, Awkward, self.run, unsaved=self.unsaved)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def source(files: Files) -> Iterator[throttled.Source]:
    with throttled.serving(files.folder) as source:
        yield source


@pytest.mark.system
@pytest.mark.parametrize("name", ["ordinary", "assigned", "pisel", "cicada"])
def test_a_baseline_answers_like_the_module(name: str, files: Files, source: throttled.Source) -> None:
    by = getattr(files, f"by_{name}")
    for origin in (lambda path: Remote(source.address, path), lambda path: Local(files.folder / path)):
        torch.testing.assert_close(by(origin), files.expected)


def test_a_tensor_with_two_names_lies_in_the_file_once(files: Files) -> None:
    by_name = {layer.module: layer for layer in files.checkpoint.layers}
    (embedding,) = by_name["embedding"].tensors
    assert {slot.module for slot in embedding.slots} == {"embedding", "head"}
    assert [stored.slots[0].attribute for stored in by_name["head"].tensors] == ["bias"]
    assert files.checkpoint.layers[by_name["head"].shares_with[0]].module == "embedding"


def test_what_is_never_called_is_waited_for_before_anything_runs(files: Files) -> None:
    first = files.checkpoint.layers[0]
    assert (first.module, first.locked) == ("uncalled", "")


def test_an_unsaved_buffer_is_in_no_file(files: Files) -> None:
    slots = [slot for layer in files.checkpoint.layers for t in layer.tensors for slot in t.slots]
    assert "scale" not in {slot.attribute for slot in slots}
    assert "shift" in {slot.attribute for slot in slots}
    assert "num_batches_tracked" in {slot.attribute for slot in slots}
