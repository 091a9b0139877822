"""Actions whose weights lie on a source of the test's, and what came of calling them."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import instar
from instar import package
from instar.weights.asks import Asks
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.pipeline import Urgency
from tests.runtime.containers import Container, Exchange, zipped
from tests.runtime.modules import Deep

HEADER = "X-Instar-Weights"
ROWS = 3
SOON_S = 60  # what takes longer than this hangs

# Calls the model that the caller names with numbers made of a seed, and answers with what came of it.
HANDLER = """
import os, torch, instar
MODELS = {name: instar.model(name) for name in os.environ['MODELS'].split()}
def main(args):
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(args.get('seed', 1)))
    if args.get('idle'):
        return {}
    return {'values': MODELS[args['model']](x).flatten().tolist()}
"""


def pack(folder: Path, *names: str) -> dict[str, Deep]:
    """A package of a `Deep` of its own for each name, in folders of these names."""
    modules = {}
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        modules[name] = Deep().eval()
        instar.pack(
            modules[name], {"x": torch.zeros(2, 512)}, folder / name, dims={"x": {0: "n"}}, bounds={"n": (1, 9)}
        )
    return modules


def archive(folder: Path, url: str, *names: str, main: str = HANDLER) -> bytes:
    """An action with these packages, whose weights are at `url`."""
    files: dict[str, str | bytes] = {"__main__.py": main}
    for name in names:
        decoded = package.decode(package.read(folder / name))
        weights = dataclasses.replace(decoded.weights, uri=f"{url}/{name}/{WEIGHTS_FILE}")
        files[f"{name}/{package.MODEL_FILE}"] = package.encode(dataclasses.replace(decoded, weights=weights))
    return zipped(files)


def weights_of(name: str) -> str:
    """The path of a package's weights on the source."""
    return f"{name}/{WEIGHTS_FILE}"


def digest(folder: Path, name: str) -> str:
    """What a package's weights are known by."""
    return package.decode(package.read(folder / name)).weights.digest


def init(container: Container, code: bytes, *names: str) -> Exchange:
    return container.init(code, env={"MODELS": " ".join(names)})


def is_bit_equal(answer: Exchange, module: Deep, *, seed: int = 1) -> bool:
    x = torch.randn(ROWS, 512, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        expected = module(x).flatten()
    return torch.equal(torch.tensor(answer.json["values"], dtype=torch.float32), expected)


def told(answer: Exchange) -> Mapping[str, Any] | None:
    """What the answer's header says of weights."""
    return json.loads(answer.headers[HEADER]) if HEADER in answer.headers else None


def await_ask(store: Path, digest: str) -> None:
    """Return when a call waits for these weights. The kernel tells nobody when a lock is taken, so this looks."""
    asks, pause = Asks(store / "asks"), threading.Event()
    try:
        for _ in range(SOON_S * 100):
            if asks.asked(Urgency.REQUEST, digest) is not None:
                return
            pause.wait(0.01)
        raise AssertionError(f"nothing waits for {digest}")
    finally:
        asks.close()


class Caller:
    """Runs under way. `close` waits for their answers."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._pool = ThreadPoolExecutor(8)

    def run(self, **value: Any) -> Future[Exchange]:
        return self._pool.submit(self._container.run, value)

    def close(self) -> None:
        self._pool.shutdown()
