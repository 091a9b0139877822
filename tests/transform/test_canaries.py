"""After a transformation nothing of the old model's weights is left where weights lie, and little anywhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

import instar
from tests.models import zoo
from tests.transform import families
from tests.transform.process import regions

ROOT = Path(__file__).parents[2]
NUMBER = 0.0012953  # what stands in every float of the source: so copies in another order are found, too
CANARY = torch.full((8,), NUMBER).numpy().tobytes()
INPUT = 0.3141592
NAMED = {model.name: model for model in families.ALL}
# Its convolutions are computed from reordered copies of its weights, of half a megabyte each.
LARGE = families.model("large", partial(families.pictures, families.Residual, 128, 2), families.picture)


def planted(model: zoo.Model) -> torch.nn.Module:
    """The module with canaries all over each of its tensors."""
    module = model.module()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(NUMBER)
    return module


class Process:
    """A process that becomes another model when it is told to, and whose memory is looked through meanwhile."""

    def __init__(self, *arguments: str) -> None:
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"}
        command = [sys.executable, "-m", "tests.transform.canaries", *arguments]
        self.running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
        )

    def until(self, what: str) -> dict[str, int]:
        """Go on until it has done this; where canaries are then, and how many."""
        assert self.running.stdout is not None and self.running.stdin is not None
        assert self.running.stdout.readline().strip() == what
        found = places(self.running.pid)
        self.running.stdin.write("\n")
        self.running.stdin.flush()
        print(what, found)
        return found


def places(pid: int) -> dict[str, int]:
    """Where in a process's readable memory canaries stand, and how many of them."""
    found: dict[str, int] = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in regions(pid):
            if not region.permissions.startswith("r") or region.path.startswith("[v"):
                continue
            data = bytearray()
            memory.seek(region.start)
            while len(data) < region.end - region.start:
                try:
                    piece = memory.read(region.end - region.start - len(data))
                except OSError:  # of a device
                    break
                if not piece:
                    break
                data += piece
            if count := data.count(CANARY):
                place = region.path or "anonymous"
                found[place] = found.get(place, 0) + count
    return found


@contextmanager
def process(source: zoo.Model, target: zoo.Model, folder: Path) -> Iterator[Process]:
    instar.pack(planted(source), source.inputs(2), folder / "a")
    instar.pack(target.module(), target.inputs(2), folder / "b")
    found = Process(str(folder / "store"), str(folder / "a"), str(INPUT), str(folder / "b"))
    with found.running:
        try:
            yield found
        finally:
            found.running.kill()


def in_files(found: dict[str, int], folder: Path) -> int:
    return sum(count for place, count in found.items() if place.startswith(str(folder)))


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", [(LARGE, NAMED["encoder"]), (NAMED["gpt2"], NAMED["vectors"])], ids=["cnn", "text"])
def test_no_canary_is_left_where_weights_lie_and_freed_memory_is_given_back(
    pair: tuple[zoo.Model, zoo.Model], tmp_path: Path
) -> None:
    with process(*pair, tmp_path) as running:
        source = running.until("source")
        assert in_files(source, tmp_path) > 1000  # they can be found where they are: the test can fail
        for step in ("transformed", "target"):
            assert in_files(running.until(step), tmp_path) == 0
        forgotten = running.until("forgotten")
        assert in_files(forgotten, tmp_path) == 0
        assert forgotten.get("[heap]", 0) < source["[heap]"] / 10
