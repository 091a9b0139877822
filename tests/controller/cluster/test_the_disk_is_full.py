"""The disks of `instar invoker` are full, and have room again: nothing is lost, and no more is taken on than fits.

The disks are real ones, of memory, that the test fills to the last byte. What process containers work in lies
elsewhere, as it does with Docker.
"""

from __future__ import annotations

import base64
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from clusters import Cluster
from deploy.image.engine import Engine
from faulty_proxy import CutBefore, FaultyProxy
from programs import RunningProgram
from small_disks import SmallDisk, mounted
from tests.runtime import arriving
from tests.runtime.containers import zipped_folder
from tests.runtime.modules import Deep
from tests.runtime.source import Source
from whisk_controllers import Sent, action

# One has 70 MB of records written; for another one an image may have to be made, which does not count.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]

RECORDS = "_bulk_docs"
TALKATIVE = "def main(args):\n    for _ in range(args['lines']):\n        print('x' * 65_000)\n    return {}\n"
LINES = 140  # 9 MB
START_S = 200.0  # most time that a container takes to load torch and to answer
FULL = 8  # so many records of such logs are more than 64 MB
WEIGHTY = """
import torch, instar
def main(args):
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(args["seed"]))
    return {"values": instar.model()(x).flatten().tolist()}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str, int], SmallDisk]]:
    """Mounts a disk of so many bytes at a folder of the test's."""
    with ExitStack() as stack:
        yield lambda name, size_bytes: stack.enter_context(mounted(tmp_path / name, size_bytes=size_bytes))


@pytest.fixture
def small_cluster(disk: Callable[[str, int], SmallDisk], cluster: Cluster) -> Cluster:
    """The cluster, which ends before its disks go."""
    return cluster


def begin(cluster: Cluster, proxy: FaultyProxy) -> RunningProgram:
    elsewhere = cluster.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    containers = cluster.state("invoker0") / "containers"
    if not containers.is_symlink():
        containers.symlink_to(elsewhere)
    return cluster.invoker(CONFIG_whisk_couchdb_port=str(proxy.port))


def run(cluster: Cluster, name: str, revision: str, count: int, **content: int) -> list[Sent]:
    """Run an action so often; every one of them is completed."""
    sent = [cluster.controller.invoke(name, content, revision=revision) for _ in range(count)]
    for each in sent:
        cluster.controller.completion(each)
        assert each.response[0] == 0
    return sent


def is_kept_once(cluster: Cluster, sent: list[Sent]) -> None:
    records = cluster.records()
    assert set(records) == {each.id for each in sent}
    assert all(record["_rev"].startswith("1-") for record in records.values())
    assert all(len(each.completions) == 1 for each in sent)


def test_on_a_full_disk_memory_has_to_do_until_there_is_room(
    small_cluster: Cluster, faulty_database: FaultyProxy, disk: Callable[[str, int], SmallDisk]
) -> None:
    cluster = small_cluster
    state = disk("invoker0", 1 << 20)
    revision = cluster.put("guest/talkative", TALKATIVE)
    first = begin(cluster, faulty_database)
    with faulty_database.from_now_on(CutBefore(), path=RECORDS):
        sent = run(cluster, "guest/talkative", revision, 1, lines=1)
        first.wait_for_metric(lambda taken: taken == 1, "instar_records", fate="taken")
        state.fill()
        sent += run(
            cluster, "guest/talkative", revision, 5, lines=1
        )  # each more than what is left of a file's last page
        first.wait_for_metric(lambda count: count == 5, "instar_records_at_risk")
        assert first.metric("instar_records_full") == 0
        state.make_room()
        first.wait_for_metric(lambda count: count == 0, "instar_records_at_risk")
        first.end(signal.SIGKILL)
    second = begin(cluster, faulty_database)
    second.wait_for_metric(lambda kept: kept >= 6, "instar_records", fate="kept")
    assert second.end(signal.SIGTERM) == 0
    is_kept_once(cluster, sent)


def test_beyond_what_fits_no_work_is_read_and_all_of_it_is_when_there_is_room(
    small_cluster: Cluster, faulty_database: FaultyProxy, disk: Callable[[str, int], SmallDisk]
) -> None:
    cluster = small_cluster
    state = disk("invoker0", 1 << 20)
    revision, talkative = cluster.put("guest/echo"), cluster.put("guest/talkative", TALKATIVE)
    invoker = begin(cluster, faulty_database)
    sent = run(cluster, "guest/echo", revision, 1)
    state.fill()
    with faulty_database.from_now_on(CutBefore(), path=RECORDS):
        sent += run(cluster, "guest/talkative", talkative, FULL, lines=LINES)
        invoker.wait_for_metric(lambda is_full: is_full == 1, "instar_records_full")
        late = []
        for _ in range(4):  # the first may come to a reader that had been at it already; after that there is none
            late.append(cluster.controller.invoke("guest/echo", revision=revision))
            cluster.controller.flush()
            cluster.controller.wait_for_ping()
        assert not late[-1].acks
        assert (invoker.metric("instar_messages_total", fate="run") or 0) < len(sent) + len(late)
    for each in late:
        cluster.controller.completion(each)
    sent += late
    invoker.wait_for_metric(lambda kept: kept == len(sent), "instar_records", fate="kept")
    assert invoker.metric("instar_records_full") == 0
    assert invoker.end(signal.SIGTERM) == 0
    is_kept_once(cluster, sent)


def test_on_a_full_store_a_model_is_a_clear_error_until_there_is_room(
    small_cluster: Cluster, disk: Callable[[str, int], SmallDisk], tmp_path: Path
) -> None:
    cluster = small_cluster
    store = disk("store", 64 << 10)
    net = arriving.pack(tmp_path / "packages", "net")["net"]
    source = Source(tmp_path / "packages")
    serving = threading.Thread(target=source.serve, daemon=True)
    serving.start()
    try:
        code = arriving.archive(tmp_path / "packages", source.url, "net", main=WEIGHTY)
        revision = put_weighty(cluster, code, kind="python:3")
        invoker = cluster.invoker(INSTAR_STORE=str(store.path))
        failed = cluster.controller.invoke("guest/weighty", {"seed": 1}, revision=revision)
        cluster.controller.completion(failed)
        assert failed.response == (2, {"error": "Cannot start action. Check logs for details."})
        store.grow(64 << 20)
        again = cluster.controller.invoke("guest/weighty", {"seed": 2}, revision=revision)
        cluster.controller.completion(again)
        assert is_right(again, net, seed=2)
        assert invoker.end(signal.SIGTERM) == 0
        is_kept_once(cluster, [failed, again])
        assert any("do not fit into a store" in line for line in cluster.records()[failed.id]["logs"])
        assert any("weights of guest/weighty cannot be sent for" in line for line in invoker.log)
    finally:
        source.close()
        serving.join()


def test_on_a_full_store_docker_containers_see_to_their_weights_themselves(
    small_cluster: Cluster,
    disk: Callable[[str, int], SmallDisk],
    docker_engine: Engine,
    action_image: str,
    tmp_path: Path,
) -> None:
    cluster = small_cluster
    store = disk("store", 64 << 10)
    net = arriving.pack(tmp_path / "packages", "net")["net"]
    code = zipped_folder(tmp_path / "packages" / "net", "net", {"__main__.py": WEIGHTY})
    revision = put_weighty(cluster, code, kind="pytorch:2")
    manifest = tmp_path / "runtimes.json"
    kinds = [{"kind": "pytorch:2", "default": True, "image": {"name": action_image}}]
    manifest.write_text(json.dumps({"runtimes": {"pytorch": kinds}}))
    invoker = cluster.invoker(
        **docker_engine.environ,
        INSTAR_CONTAINERS="docker",
        INSTAR_MANIFEST=str(manifest),
        INSTAR_STORE=str(store.path),
    )
    sent = cluster.controller.invoke("guest/weighty", {"seed": 3}, revision=revision)
    cluster.controller.completion(sent, wait_s=START_S)
    assert is_right(sent, net, seed=3)
    assert invoker.end(signal.SIGTERM) == 0
    is_kept_once(cluster, [sent])
    assert any("guest/weighty" in line and "do not fit into a store" in line for line in invoker.log)


def put_weighty(cluster: Cluster, code: bytes, *, kind: str) -> str:
    document = dict(action("guest/weighty", "", {}))
    document["exec"] = {"kind": kind, "code": base64.b64encode(code).decode(), "binary": True}
    document["limits"] = {**document["limits"], "memory": 512, "timeout": int(START_S * 1000)}
    return cluster.databases.server.put(cluster.databases.entities, document)


def is_right(sent: Sent, net: Deep, *, seed: int) -> bool:
    """Whether it succeeded, with what the model makes of these numbers."""
    status, result = sent.response
    assert status == 0, result
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        expected = net(x).flatten()
    return torch.allclose(torch.tensor(result["values"]), expected, rtol=1e-4, atol=1e-5)
