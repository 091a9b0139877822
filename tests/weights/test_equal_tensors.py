"""Equal tensors of different files come to the node once, whatever a package says of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import instar
from instar.errors import DigestError
from instar.executor import load
from instar.weights import layout
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE, Span, pack_spans, unpack_spans
from instar.weights.store import Store
from instar.weights.transfer import Run

CHUNK_BYTES = 65536
WIDTH = 96


def net(seed: int) -> torch.nn.Sequential:
    """Siblings share a trunk of eight layers; heads of different seeds differ."""
    torch.manual_seed(0)
    trunk = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(8)]
    torch.manual_seed(seed)
    return torch.nn.Sequential(*trunk, torch.nn.Linear(WIDTH, WIDTH)).eval()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("siblings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_BYTES", CHUNK_BYTES)
        for seed in (1, 2):
            instar.pack(net(seed), {"input": torch.zeros(1, WIDTH)}, folder / str(seed))
    return {seed: folder / str(seed) for seed in (1, 2)}


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetcher]:
    made = Fetcher(Store(tmp_path / "store"))
    yield made
    made.close()


def bring(fetcher: Fetcher, package: Path) -> None:
    model = load.begin(package, fetcher=fetcher)
    model.wait()
    model.close()
    fetcher.settle()


def test_what_a_sibling_has_brought_is_copied(packages: dict[int, Path], fetcher: Fetcher) -> None:
    bring(fetcher, packages[1])
    model = load.begin(packages[2], fetcher=fetcher)
    model.wait()
    spent = model.spent()
    assert spent.reused_bytes > 0.6 * (spent.reused_bytes + spent.fetched_bytes)
    x = torch.randn(1, WIDTH)
    with torch.inference_mode():
        assert torch.equal(model.run({"input": x})[0], net(2)(x))
    model.close()


def test_what_was_copied_is_counted_before_anybody_sees_it(
    packages: dict[int, Path], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(fetcher, packages[1])
    is_held, is_seen = threading.Event(), threading.Event()
    arrived = fetcher.arrived

    def late(run: Run) -> None:
        if run.reads[0].chunk in run.transfer.plan and not is_held.is_set():
            is_held.set()
            assert is_seen.wait(60)
        arrived(run)

    monkeypatch.setattr(fetcher, "arrived", late)
    model = load.begin(packages[2], fetcher=fetcher)
    try:
        model.wait()
        spent = model.spent()
    finally:
        is_seen.set()
    assert is_held.is_set()
    fetcher.settle()
    assert spent.reused_bytes == model.spent().reused_bytes > 0
    model.close()


def test_a_package_that_lies_about_a_tensor_gains_and_spoils_nothing(
    packages: dict[int, Path], fetcher: Fetcher
) -> None:
    bring(fetcher, packages[1])
    prepared = load.structure(packages[2], store=fetcher.store)
    honest = list(unpack_spans(prepared.spans))
    digests = [span.digest for span in honest if span.nbytes == honest[1].nbytes]
    lies = [Span(s.offset, s.nbytes, digests[0] if s.nbytes == honest[1].nbytes else s.digest) for s in honest]
    assert lies != honest
    arrival = fetcher.begin(prepared.weights, packages[2] / WEIGHTS_FILE, spans=pack_spans(lies))
    arrival.wait_all()
    arrival.close()
    fetcher.settle()
    assert fetcher.store.place(prepared.weights.digest).read_bytes() == (packages[2] / WEIGHTS_FILE).read_bytes()


def test_a_damaged_source_is_an_error_even_if_most_is_there(
    packages: dict[int, Path], fetcher: Fetcher, tmp_path: Path
) -> None:
    bring(fetcher, packages[1])
    prepared = load.structure(packages[2], store=fetcher.store)
    damaged = bytearray((packages[2] / WEIGHTS_FILE).read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    arrival = fetcher.begin(prepared.weights, tmp_path / "damaged", spans=prepared.spans)
    with pytest.raises(DigestError, match="damaged"):
        arrival.wait_all()
    arrival.close()


def test_a_file_that_was_evicted_meanwhile_is_missed_by_nobody(
    packages: dict[int, Path], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(fetcher, packages[1])
    monkeypatch.setattr(fetcher.store, "read", lambda *_: False)
    model = load.begin(packages[2], fetcher=fetcher)
    model.wait()
    assert model.spent().reused_bytes == 0
    model.close()
