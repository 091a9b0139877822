"""A process that loads and runs a model, and then turns it into another one: what canaries are looked for in.

    python -m tests.transform.canaries STORE SOURCE INPUT TARGET

It says on its standard output what it has just done, and goes on when it is told to. INPUT is the number that the
source's inputs are full of; it never holds the canary in any other way than by loading the source.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from instar.executor import load, transform
from instar.executor.live import LiveModel
from instar.graph.signature import Signature
from instar.weights.fetch import Fetcher
from instar.weights.store import Store


def inputs(signature: Signature, number: float) -> dict[str, torch.Tensor]:
    return {
        port.name: torch.full([size for size in port.type.shape if isinstance(size, int)], number).to(
            getattr(torch, port.type.dtype)
        )
        for port in signature.inputs
    }


def say(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def run(model: LiveModel, number: float) -> None:
    for _ in range(3):
        model.run(inputs(model.signature, number))


def main() -> None:
    store, source, number, target = sys.argv[1:]
    fetcher = Fetcher(Store(Path(store)))
    model = load.begin(Path(source), fetcher=fetcher)
    model.wait()
    fetcher.settle()
    run(model, float(number))
    say("source")
    transform.into(model, Path(target), fetcher=fetcher)
    model.wait()
    fetcher.settle()
    say("transformed")
    run(model, 0.5)
    say("target")
    transform.forget()
    say("forgotten")


if __name__ == "__main__":
    main()
