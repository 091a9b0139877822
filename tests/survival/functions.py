"""The functions under test: one that does nothing, and one that calls a small model."""

from __future__ import annotations

import base64
from pathlib import Path

import torch

import instar
from tests.runtime.containers import zipped_folder
from tests.runtime.modules import Pair

ECHO = "def main(args):\n    return args\n"

DOUBLING = """
import socket
import torch
import instar

model = instar.model()

def main(args):
    if 'tell' in args:  # that the call comes now
        socket.create_connection(tuple(args['tell'])).close()
    try:
        return {'doubled': model(torch.tensor([args['n']]), torch.tensor([True]))[0].tolist()}
    except Exception as error:
        return {'type': type(error).__name__, 'text': str(error)}
"""


def doubling(folder: Path) -> str:
    """The archive of `DOUBLING` with its model, in base64."""
    example = {"ids": torch.arange(4), "mask": torch.ones(4, dtype=torch.bool)}
    package = folder / "pair"
    instar.pack(Pair(), example, package, dims={"ids": {0: "n"}, "mask": {0: "n"}}, bounds={"n": (1, 10**6)})
    return base64.b64encode(zipped_folder(package, "pair", {"__main__.py": DOUBLING})).decode()
