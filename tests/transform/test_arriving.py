"""A model becomes one whose weights are still arriving, and answers as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import instar
from instar.errors import SourceError
from instar.executor import load, transform
from instar.executor.live import LiveModel
from instar.weights import layout
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.pipeline import Urgency
from instar.weights.store import Store
from tests.packages.test_arriving import CHUNK_BYTES, Bringing, running
from tests.transform.conftest import Packed, weights


def chain(seed: int, depth: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(40, 40) for _ in range(depth)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(40, 7)).eval()


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[torch.nn.Module, Path]]:
    """Modules and their packages, cut into many small chunks; `sibling` lies as `target` does."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_BYTES", CHUNK_BYTES)
        for name, module in (("source", chain(1, 5)), ("target", chain(2, 12)), ("sibling", chain(3, 12))):
            directory = tmp_path_factory.mktemp("chunked") / name
            instar.pack(module, {"input": torch.zeros(2, 40)}, directory)
            found[name] = module, directory
    return found


@pytest.fixture(params=["source", "sibling"])
def model(
    request: pytest.FixtureRequest, chunked: dict[str, tuple[torch.nn.Module, Path]], tmp_path: Path
) -> Iterator[LiveModel]:
    """A whole model that is to become `target`."""
    found = load.load(chunked[request.param][1], store=Store(tmp_path / "store"))
    yield found
    found.close()


@pytest.fixture
def bringing(chunked: dict[str, tuple[torch.nn.Module, Path]], tmp_path: Path) -> Iterator[Bringing]:
    found = Bringing(chunked["target"][1], Store(tmp_path / "store"))
    yield found
    found.owner.close()


def test_it_answers_as_its_weights_arrive(
    chunked: dict[str, tuple[torch.nn.Module, Path]], bringing: Bringing, model: LiveModel
) -> None:
    x = torch.randn(2, 40)
    bringing.bring(0)
    transform.transform(model, bringing.prepared, bringing.begin)
    assert not model.is_ready and not model.is_dirty
    with running(model, x) as found:
        for chunk in reversed(bringing.chunks[1:]):
            assert not found
            bringing.bring(chunk)
    with torch.inference_mode():
        wanted = chunked["target"][0](x)
    assert isinstance(found[0], torch.Tensor) and torch.equal(found[0], wanted)
    assert model.is_ready
    assert torch.equal(model.run({"input": x})[0], wanted)
    spent = model.spent()
    assert spent.present_bytes == CHUNK_BYTES and spent.fetched_bytes == len(bringing.data) - CHUNK_BYTES


def test_where_weights_do_not_come_the_next_run_has_them_brought_afresh(
    chunked: dict[str, tuple[torch.nn.Module, Path]], bringing: Bringing, model: LiveModel
) -> None:
    x = torch.randn(2, 40)
    transform.transform(model, bringing.prepared, bringing.begin)
    with running(model, x) as found:
        assert bringing.waited_for.wait(60)  # a run that begins after a failure has them brought afresh
        bringing.fail(SourceError("the link is down"))
    assert str(found[0]) == "the link is down"
    assert not model.is_dirty  # it is the target, whose weights are not there
    bringing.waited_for.clear()
    with running(model, x) as found:
        assert bringing.waited_for.wait(60)  # and one that begins when all is there has nothing brought
        for chunk in bringing.chunks:
            bringing.bring(chunk)
    assert bringing.begun == 2
    with torch.inference_mode():
        assert isinstance(found[0], torch.Tensor) and torch.equal(found[0], chunked["target"][0](x))


def test_what_has_not_arrived_shows_nothing_of_the_source(bringing: Bringing, model: LiveModel) -> None:
    transform.transform(model, bringing.prepared, bringing.begin)
    assert all(not tensor.any() for tensor in weights(model))


def test_a_model_whose_own_weights_are_arriving_becomes_another_one(
    bringing: Bringing, packed: dict[str, Packed], fetcher: Fetcher
) -> None:
    model = LiveModel(bringing.prepared, bringing.begin, load.bind)
    bringing.bring(0)
    transform.into(model, packed["mobile"].directory, fetcher=fetcher)
    packed["mobile"].check(model)
    model.close()


def test_a_model_whose_own_weights_could_not_be_had_becomes_another_one(
    bringing: Bringing, packed: dict[str, Packed], fetcher: Fetcher
) -> None:
    model = LiveModel(bringing.prepared, bringing.begin, load.bind)
    bringing.error = SourceError("gone")

    def refuse() -> None:
        raise SourceError("there is no store")

    model._bring = refuse  # type: ignore[assignment]
    with pytest.raises(SourceError, match="no store"):
        model.run({"input": torch.zeros(2, 40)})
    transform.into(model, packed["mobile"].directory, fetcher=fetcher)
    packed["mobile"].check(model)
    model.close()


def test_the_pipeline_brings_what_the_node_lacks(
    chunked: dict[str, tuple[torch.nn.Module, Path]], tmp_path: Path
) -> None:
    # The store is new: all of the target's weights come from its package.
    fetcher = Fetcher(Store(tmp_path / "store"))
    model = load.begin(chunked["source"][1], fetcher=fetcher)
    module, directory = chunked["target"]
    nbytes = (directory / WEIGHTS_FILE).stat().st_size
    for urgency in (Urgency.TRANSFORMATION, Urgency.REQUEST):
        transform.into(model, directory, fetcher=fetcher, urgency=urgency)
        x = torch.randn(2, 40)
        with torch.inference_mode():
            assert torch.equal(model.run({"input": x})[0], module(x))
        model.wait()
    assert model.spent().present_bytes == nbytes
    model.close()
    fetcher.settle()
    fetcher.close()


def test_a_worker_that_left_does_not_keep_the_next_function_from_its_weights(
    bringing: Bringing, model: LiveModel
) -> None:
    model.abandon()
    transform.transform(model, bringing.prepared, bringing.begin)
    with running(model, torch.randn(2, 40)) as found:
        for chunk in bringing.chunks:
            bringing.bring(chunk)
    assert isinstance(found[0], torch.Tensor)
