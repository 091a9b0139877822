"""`instar serve` has a model's weights brought while their container boots, and tells in the record what came."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deep import NAME, Observed, create, is_right, told
from servers import WAIT_S, Server, annotations
from tests.runtime.modules import Deep

from instar.weights.chunkmap import ChunkMap
from instar.weights.manifest import Weights
from instar.weights.store import Store

pytestmark = pytest.mark.system


def test_weights_are_on_their_way_before_their_container_is_up(
    start: Callable[..., Server], folder: Path, net: Deep, source: Observed, weights: Weights
) -> None:
    server = start("--prewarm", "none")
    create(server, folder, source)
    answer = server.invoke("deep", {"seed": 1})
    note = told(answer)
    assert is_right(answer[1], net, 1)
    assert note["start"] == "cold"
    assert source.asked_ms is not None
    init_began_ms = answer[1]["start"]
    assert source.asked_ms < init_began_ms  # which is when the container was up
    assert {key: note["weights"][key] for key in ("presentBytes", "fetchedBytes")} == {
        "presentBytes": 0,
        "fetchedBytes": weights.size,
    }
    assert note["weights"]["waitedMs"] >= 0
    assert source.given_bytes == weights.size
    record = server.record(answer[1]["activationId"])
    assert annotations(record)["instar"] == note
    assert "weights" not in told(server.invoke("deep", {"seed": 2}))


def test_a_stem_cells_model_arrives_while_it_is_initialised(
    start: Callable[..., Server], folder: Path, net: Deep, source: Observed, weights: Weights
) -> None:
    server = start("--prewarm", "python:3:512:1")
    create(server, folder, source)
    server.event("prewarmed")
    note = told(server.invoke("deep", {"seed": 1}))
    assert note["start"] == "prewarmed"
    assert (note["weights"]["presentBytes"], note["weights"]["fetchedBytes"]) == (0, weights.size)


def test_a_killed_server_leaves_what_has_arrived_and_the_next_one_fetches_the_rest(
    start: Callable[..., Server], folder: Path, net: Deep, source: Observed, weights: Weights
) -> None:
    source.hold(NAME, weights.size * 2 // 3)
    server = start("--prewarm", "none")
    create(server, folder, source)
    call = server.invoke_aside("deep", {"seed": 3})
    source.await_asked(NAME)
    await_chunk(server.store, weights)
    server.end(signal.SIGKILL)
    assert call.exception(WAIT_S) is not None
    given_bytes = source.given_bytes
    source.release(NAME)
    again = start("--prewarm", "none")
    answer = again.invoke("deep", {"seed": 3})
    note = told(answer)["weights"]
    assert is_right(answer[1], net, 3)
    assert note["presentBytes"] + note["fetchedBytes"] == weights.size
    assert 0 < note["presentBytes"] <= given_bytes
    # A connection of the killed server may have been given a piece more; no chunk was.
    assert 0 <= source.given_bytes - given_bytes - note["fetchedBytes"] < weights.chunk_bytes


def test_a_source_that_is_gone_is_the_functions_error_and_the_next_call_tries_again(
    start: Callable[..., Server], folder: Path, net: Deep, source: Observed, weights: Weights
) -> None:
    server = start("--prewarm", "none")
    create(server, folder, source)
    (folder / NAME).rename(folder / "elsewhere")
    status, answer = server.invoke("deep", {"seed": 4})
    assert (status, answer["response"]["status"]) == (502, "application error")
    assert "404" in answer["response"]["result"]["error"]
    (folder / "elsewhere").rename(folder / NAME)
    after = server.invoke("deep", {"seed": 4})
    assert (told(after)["start"], is_right(after[1], net, 4)) == ("warm", True)
    said = server.end(signal.SIGINT)[1]
    assert "weights of guest/deep do not arrive" in said


def test_without_a_store_of_the_nodes_the_container_fetches_for_itself(
    start: Callable[..., Server], folder: Path, net: Deep, source: Observed, weights: Weights, tmp_path: Path
) -> None:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    server = start("--prewarm", "none", "--store", "none", environ=environ)
    create(server, folder, source)
    began_ms = time.time_ns() // 1_000_000
    answer = server.invoke("deep", {"seed": 5})
    note = told(answer)
    # Not before it was up. The record's own `start` is later than the ask if anything came between init and run.
    assert source.asked_ms is not None and source.asked_ms >= began_ms + note["bootMs"]
    assert note["weights"]["fetchedBytes"] == weights.size
    assert (tmp_path / ".cache" / "instar" / "asks").is_file()  # the container's own store
    assert not server.store.exists()


def await_chunk(store: Path, weights: Weights) -> None:
    """Return when the store has one: a source has given bytes before they are looked at and written."""
    until_s = time.monotonic() + WAIT_S
    map_ = ChunkMap(Store(store).map_of(weights.digest), len(weights.chunks))
    while not any(map_.flags):
        assert time.monotonic() < until_s, "no chunk has come"
        time.sleep(0.01)
    map_.close()
