"""Models under concurrency: calls take turns, and each thread gets the answer to its own question, bit by bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import instar
from tests.runtime.containers import Container, zipped_folder
from tests.runtime.modules import Net

pytestmark = pytest.mark.system

THREADS = 8

HANDLER = """
import threading
from concurrent.futures import ThreadPoolExecutor
import torch
import instar
MODEL = instar.model()
def compute(seed):
    # Of different sizes, so that the shared memory grows under some of the threads while others use it.
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1 + seed % 5 * 40, 3, 16, 16, generator=generator)
    return MODEL(x).double().flatten().tolist()
def main(args):
    with ThreadPoolExecutor(args['threads']) as pool:
        return {'values': list(pool.map(compute, args['seeds']))}
"""


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(11)
    return Net().eval()


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Iterator[Container]:
    package = tmp_path_factory.mktemp("packages") / "net"
    dims: dict[str, Any] = {"dims": {"x": {0: "n"}}, "bounds": {"n": (1, 1000)}}
    instar.pack(net, {"x": torch.zeros(2, 3, 16, 16)}, package, **dims)
    environ = {"__OW_ALLOW_CONCURRENT": "true"}
    container = Container(tmp_path_factory.mktemp("container"), environ=environ)
    assert container.init(zipped_folder(package, "net", {"__main__.py": HANDLER})).status == 200
    yield container
    container.close()


def expected(net: Net, seed: int) -> list[float]:
    x = torch.randn(1 + seed % 5 * 40, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return net(x).double().flatten().tolist()  # type: ignore[no-any-return]


def test_threads_of_a_run_get_bit_equal_answers(container: Container, net: Net) -> None:
    seeds = list(range(48))
    answer = container.run({"threads": THREADS, "seeds": seeds})
    assert answer.json == {"values": [expected(net, seed) for seed in seeds]}


def test_runs_at_once_get_bit_equal_answers(container: Container, net: Net) -> None:
    wanted = [expected(net, seed) for seed in range(64)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = pool.map(lambda seed: container.run({"threads": 1, "seeds": [seed]}).json, range(64))
        assert list(answers) == [{"values": [values]} for values in wanted]


def test_an_executor_that_ends_fails_the_calls_under_way_and_no_later_one(container: Container, net: Net) -> None:
    """Each run is answered, with its result or with the one error that a call can meet then."""
    executor = container.processes()["executor"]
    with ThreadPoolExecutor(THREADS) as pool:
        runs = [pool.submit(container.run, {"threads": 1, "seeds": [seed] * 10}) for seed in range(32)]
        os.kill(executor, signal.SIGKILL)
        answers = [run.result() for run in runs]
    for seed, answer in enumerate(answers):
        assert answer.status == 200
        if "error" in answer.json:
            assert "the executor, which runs the models, ended during this call" in answer.json["error"]
        else:
            assert answer.json == {"values": [expected(net, seed)] * 10}
    assert container.run({"threads": 2, "seeds": [1]}).json == {"values": [expected(net, 1)]}
