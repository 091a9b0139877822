"""The image as any OpenWhisk uses it: started, initialised, run, stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

import instar
from tests.image.conftest import Start
from tests.image.containers import ImageContainer
from tests.runtime.containers import zipped_folder
from tests.runtime.modules import Net

pytestmark = pytest.mark.system

ECHO = "def main(args):\n    print('hello')\n    return args\n"
MODEL = """
import instar, torch
model = instar.model()
def main(args):
    x = torch.tensor(args['x']).reshape(1, 3, 16, 16)
    return {'y': model(x).tolist()}
"""
AT_ONCE_S = 10  # when `docker stop` would kill it; it takes a tenth of a second where the machine is not busy


def test_a_function_is_initialised_and_run(container: ImageContainer) -> None:
    assert container.init(ECHO).json == {"ok": True}
    answer = container.run({"n": 1})
    assert (answer.status, answer.json) == (200, {"n": 1})
    assert answer.printed == ("hello", "")
    assert answer.sentinels == (1, 1)


def test_a_model_package_gives_the_module_s_bits(container: ImageContainer, tmp_path: Path) -> None:
    torch.manual_seed(11)
    net, x = Net().eval(), torch.randn(1, 3, 16, 16)
    instar.pack(net, {"x": x}, tmp_path / "model")
    answer = container.init(zipped_folder(tmp_path / "model", "model", {"__main__.py": MODEL}))
    assert answer.json == {"ok": True}, answer
    answer = container.run({"x": x.flatten().tolist()})
    with torch.no_grad():
        assert answer.json == {"y": net(x).tolist()}


@pytest.mark.parametrize("initialised", [False, True], ids=["prewarmed", "warm"])
def test_sigterm_ends_it_at_once(start: Start, initialised: bool) -> None:
    container = start()
    if initialised:
        assert container.init(ECHO).status == 200
    else:
        assert container.init("").status == 403  # it answers, and is nobody's function yet
    begin = time.monotonic()
    container.handle.kill(signal="SIGTERM")
    assert container.await_end() == 0
    assert time.monotonic() - begin < AT_ONCE_S
    assert container.group() == []


def test_it_prints_nothing_of_its_own(container: ImageContainer) -> None:
    assert container.init("").status == 403
    out, err = container.printed()
    assert (out, err) == ("", "")
