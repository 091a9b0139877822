"""What only containers of a Docker engine can do, or do wrong."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from docker_rig import KIND, DockerRig, Relay
from worlds import function

from instar_controller.clients.docker import arguments, engine, freezer
from instar_controller.clients.docker import containers as docker_containers
from instar_controller.clients.docker.arguments import Request
from instar_controller.clients.docker.containers import DockerContainers
from instar_controller.clients.docker.freezer import Freezer
from instar_controller.errors import ContainerError, SettingsError, UnansweredError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import NOT_OFFERED, Ending, Log
from instar_controller.whisk.response import Outcome, OutOfMemory, Replied

pytestmark = pytest.mark.system

C1, C2 = ContainerId("c1"), ContainerId("c2")
MIB = 1 << 20
WAIT_S = 60.0  # for anything that is sure to happen
NEWS_S = 5.0  # for the news that something was killed for want of memory, on however slow a machine
MANY = "def main(args):\n    for n in range(args['lines']):\n        print(args['run'], n)\n    return {}\n"
GREEDY = '''
import os, subprocess, sys
CHILD = """
open("/proc/self/oom_score_adj", "w").write("1000")  # it is the one to be killed
block = []
while True:
    block.append(bytearray(b"x") * (1 << 20))
"""
def main(args):
    if args["who"] == "nobody":
        os._exit(3)
    if args["who"] == "child":
        return {"status": subprocess.run([sys.executable, "-c", CHILD]).returncode}
    block = []
    while True:
        block.append(bytearray(b"x") * (1 << 20))
'''


FindFreezer = Callable[[int, str], Freezer | None]


def no_freezer(_pid: int, _container: str) -> None:
    """As where the control groups are not ours to write to."""


HOARDING = "block = []\nwhile True:\n    block.append(bytearray(b'x') * (1 << 20))\n"


def start(
    containers: DockerContainers, id: ContainerId = C1, *, memory_mb: int = 256
) -> queue.SimpleQueue[ContainerId]:
    ended: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
    containers.start(id, kind=KIND, memory_mb=memory_mb, key=function("classify"), on_exit=ended.put)
    return ended


def post(containers: DockerContainers, path: str, value: Mapping[str, Any]) -> Outcome:
    body = json.dumps({"value": value}).encode()
    return containers.post(C1, path, body, timeout_ms=60_000, max_reply_bytes=MIB)


def init(containers: DockerContainers, code: str) -> None:
    value = {"name": "f", "main": "main", "binary": False, "code": code, "env": {}}
    outcome = post(containers, "/init", value)
    assert isinstance(outcome, Replied) and outcome.status == 200, outcome


def run(containers: DockerContainers, value: Mapping[str, Any]) -> tuple[Outcome, Log]:
    log = containers.begin_log(C1, limit_bytes=8 * MIB)
    return post(containers, "/run", value), log.collect(timeout_ms=60_000)


def test_the_engine_has_made_what_was_asked_for(docker_rig: DockerRig) -> None:
    plan = docker_rig.plan()
    containers = docker_rig.make(plan)
    start(containers)
    made = docker_rig.attributes(C1)
    wanted = arguments.creation(plan, Request(C1, KIND, 256, function("classify")))
    assert made["Name"] == f"/wskinstar{plan.owner[:8]}0_c1_guest_classify"
    assert made["Config"]["Image"] == docker_rig.image
    assert set(wanted["Env"]) <= set(made["Config"]["Env"])  # type: ignore[arg-type]
    host: Any = wanted["HostConfig"]
    ulimits = [{"Name": "nofile", "Soft": 1024, "Hard": 1024}]
    assert made["HostConfig"] | host | {"Ulimits": ulimits} == made["HostConfig"]


@pytest.mark.parametrize("find_freezer", [freezer.find, no_freezer], ids=["the kernel's", "the engine's"])
def test_pauses_neither_lose_nor_double_a_line(docker_rig: DockerRig, find_freezer: FindFreezer) -> None:
    containers = docker_rig.make(find_freezer=find_freezer)
    start(containers)
    init(containers, MANY)
    for number in range(4):
        _, log = run(containers, {"run": number, "lines": 500})
        assert log.is_complete
        assert [line.text for line in log.lines] == [f"{number} {n}" for n in range(500)]
        containers.pause(C1)
        containers.resume(C1)


def test_a_line_that_the_engine_cuts_in_pieces_is_whole_again(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers)
    init(containers, "def main(args):\n    print('x' * args['n'])\n    print('after')\n    return {}\n")
    _, log = run(containers, {"n": 100_000})
    assert [len(line.text) for line in log.lines] == [100_000, 5]


def test_lines_have_the_engines_times_in_their_order(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers)
    init(containers, MANY)
    _, log = run(containers, {"run": 1, "lines": 20})
    times = [line.written_ns for line in log.lines]
    assert times == sorted(times) and len(set(times)) > 1


@pytest.mark.parametrize(
    ("who", "outcome"),
    [
        ("function", OutOfMemory()),
        ("nobody", Replied(400, b'{"error":"command exited"}\n', 27)),
    ],
)
def test_a_function_that_takes_too_much_memory_is_told_from_one_that_exits(
    docker_rig: DockerRig, monkeypatch: pytest.MonkeyPatch, who: str, outcome: Outcome
) -> None:
    if outcome == OutOfMemory():
        monkeypatch.setattr(docker_containers, "OOM_WAIT_S", NEWS_S)
    containers = docker_rig.make()
    start(containers)
    init(containers, GREEDY)
    assert run(containers, {"who": who})[0] == outcome


def test_a_function_that_takes_too_much_memory_while_it_comes_is_told_from_others_that_fail(
    docker_rig: DockerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, outcome, news_s in (
        (HOARDING, OutOfMemory(), NEWS_S),
        ("import what_nobody_has", 502, docker_containers.OOM_WAIT_S),
    ):
        monkeypatch.setattr(docker_containers, "OOM_WAIT_S", news_s)
        containers = docker_rig.make()
        containers.prepare()
        start(containers)
        init(containers, MANY)
        value = {"name": "g", "main": "main", "binary": False, "code": code, "env": {}}
        body = json.dumps({"value": value, "plan": None, "mark": "the mark"}).encode()
        found = containers.transform(C1, body, timeout_ms=60_000, max_reply_bytes=MIB)
        assert found == outcome or (isinstance(found, Replied) and found.status == outcome)
        containers.close()


def test_containers_of_other_images_than_instars_have_no_token_and_stay_what_they_are(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()  # which nobody has asked whose images they are
    start(containers)
    init(containers, MANY)
    assert not any(name.startswith("INSTAR_TOKEN=") for name in docker_rig.attributes(C1)["Config"]["Env"])
    assert containers.transform(C1, b"{}", timeout_ms=60_000, max_reply_bytes=MIB) == NOT_OFFERED
    assert isinstance(run(containers, {"run": 1, "lines": 1})[0], Replied)


def test_each_container_of_instars_image_has_a_token_of_its_own(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    containers.prepare()
    tokens = set()
    for id in (C1, C2):
        start(containers, id)
        environment = docker_rig.attributes(id)["Config"]["Env"]
        tokens |= {each for each in environment if each.startswith("INSTAR_TOKEN=")}
    assert len(tokens) == 2


def test_a_function_whose_own_child_takes_too_much_memory_goes_on(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers, memory_mb=512)  # so that the child gets larger than the worker, which the kernel ends first
    init(containers, GREEDY)
    outcome, _ = run(containers, {"who": "child"})
    assert isinstance(outcome, Replied)
    assert (outcome.status, json.loads(outcome.body)) == (200, {"status": -9})


def test_an_earlier_want_of_memory_is_not_the_reason_of_a_later_exit(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers, memory_mb=512)  # so that the child gets larger than the worker, which the kernel ends first
    init(containers, GREEDY)
    news = docker_rig.client.events(filters={"event": "oom", "container": docker_rig.find(C1).id})
    run(containers, {"who": "child"})
    next(news)  # it may come later than the answer
    news.close()
    outcome, _ = run(containers, {"who": "nobody"})
    assert isinstance(outcome, Replied) and outcome.status == 400


def test_a_container_that_ends_by_itself_says_how(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    ended = start(containers)
    docker_rig.find(C1).stop()  # as an operator might: SIGTERM first
    assert ended.get(timeout=WAIT_S) == C1
    ending = containers.remove(C1)
    assert ending is not None and not ending.ran_out_of_memory
    assert containers.remove(C1) is None


def test_a_container_that_is_removed_behind_our_back_is_gone(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    ended = start(containers)
    docker_rig.find(C1).remove(force=True)
    assert ended.get(timeout=WAIT_S) == C1
    with pytest.raises(ContainerError):
        post(containers, "/run", {})
    assert containers.remove(C1) == Ending(None)


def test_a_sleeping_container_stands_still_and_goes_on_where_it_was(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers)
    pid = docker_rig.attributes(C1)["State"]["Pid"]
    found = freezer.find(pid, docker_rig.find(C1).id)
    assert found is not None, "these tests run as root, beside their engine"
    containers.pause(C1)
    assert found.is_frozen in found.state.read_text()
    containers.resume(C1)
    init(containers, "def main(args):\n    return {}\n")
    assert found.is_frozen not in found.state.read_text()


def test_a_sleeping_container_can_be_removed(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    start(containers)
    containers.pause(C1)
    found = docker_rig.find(C1)
    assert containers.remove(C1) is None
    assert found.id not in [each.id for each in docker_rig.client.containers.list(all=True, ignore_removed=True)]


def test_a_sleeping_container_that_somebody_kills_has_ended(docker_rig: DockerRig) -> None:
    containers = docker_rig.make()
    ended = start(containers)
    containers.pause(C1)
    docker_rig.kill(C1)
    assert ended.get(timeout=WAIT_S) == C1


def test_a_paused_container_that_is_woken_behind_our_back_cannot_be_resumed(docker_rig: DockerRig) -> None:
    containers = docker_rig.make(find_freezer=no_freezer)
    start(containers)
    containers.pause(C1)
    docker_rig.find(C1).unpause()
    with pytest.raises(ContainerError, match=r"cannot be unpaused: .*not paused"):
        containers.resume(C1)


def test_an_image_that_does_not_serve_says_how_it_ended(docker_rig: DockerRig) -> None:
    recipe = f'FROM {docker_rig.image}\nENTRYPOINT ["/bin/sh", "-c", "echo no torch today >&2; exit 3"]\n'
    broken, _ = docker_rig.client.images.build(fileobj=io.BytesIO(recipe.encode()), tag="instar-test/broken:1")
    try:
        containers = docker_rig.make(docker_rig.plan(image="instar-test/broken:1"), end_limit_s=WAIT_S)
        with pytest.raises(ContainerError, match=r"it ended \(exit status 3\); it wrote: no torch today"):
            start(containers)
    finally:
        docker_rig.client.images.remove(broken.id, force=True)


def test_a_boot_that_takes_too_long_is_ended(docker_rig: DockerRig) -> None:
    containers = docker_rig.make(start_limit_s=0.05)
    with pytest.raises(ContainerError, match=r"no answer within 0\.05 s"):
        start(containers)


def test_a_container_that_is_removed_while_it_boots_does_not_come_up(docker_rig: DockerRig) -> None:
    plan = docker_rig.plan()
    containers = docker_rig.make(plan)
    outcome: queue.SimpleQueue[object] = queue.SimpleQueue()

    def boot() -> None:
        try:
            outcome.put(start(containers))
        except ContainerError as error:
            outcome.put(error)

    events = docker_rig.client.events(filters={"event": "start", "label": f"instar.serve={plan.owner}"})
    booting = threading.Thread(target=boot)
    booting.start()
    next(events)
    events.close()
    assert containers.remove(C1) is None
    assert isinstance(outcome.get(timeout=WAIT_S), ContainerError)
    booting.join()
    assert docker_rig.of(plan.owner) == []


def test_an_image_that_the_engine_lacks_is_named_with_the_way_out(docker_rig: DockerRig) -> None:
    containers = docker_rig.make(docker_rig.plan(image="instar/no-such-image:7"))
    with pytest.raises(ContainerError, match="has no image instar/no-such-image:7; build it with `make image`"):
        start(containers)
    with pytest.raises(SettingsError, match="has no image instar/no-such-image:7; build it with `make image`"):
        containers.prepare()


def test_a_network_that_the_engine_lacks_is_named_with_the_way_out(docker_rig: DockerRig) -> None:
    containers = docker_rig.make(docker_rig.plan(network="no-such-network"))
    with pytest.raises(SettingsError, match="`docker network create no-such-network`"):
        containers.prepare()


def test_containers_have_their_address_on_the_network_that_was_chosen(docker_rig: DockerRig) -> None:
    network = docker_rig.client.networks.create(f"instar-test-{uuid.uuid4().hex}", driver="bridge")
    try:
        containers = docker_rig.make(docker_rig.plan(network=network.name))
        start(containers)
        init(containers, MANY)
        containers.remove(C1)
    finally:
        network.remove()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its client leaves the socket open
def test_an_engine_that_is_not_there_is_named_with_the_way_out() -> None:
    with pytest.raises(UnansweredError, match=r"no Docker engine answers at unix:///no/socket .*DOCKER_HOST"):
        engine.connect({"DOCKER_HOST": "unix:///no/socket"})
    gc.collect()


def test_an_address_that_can_be_nobodys_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(SettingsError, match="DOCKER_HOST=nonsense://x names no Docker engine"):
        engine.connect({"DOCKER_HOST": "nonsense://x"})


@pytest.mark.parametrize("find_freezer", [freezer.find, no_freezer], ids=["the kernel's", "the engine's"])
def test_leftovers_of_the_same_server_are_removed_and_of_no_other(
    docker_rig: DockerRig, find_freezer: FindFreezer
) -> None:
    mine, theirs = docker_rig.plan(), docker_rig.plan()
    before, other = docker_rig.make(mine, find_freezer=find_freezer), docker_rig.make(theirs)
    for containers, id in ((before, C1), (before, C2), (other, C1)):
        start(containers, id)
    before.pause(C2)
    docker_rig.make(mine).prepare()
    assert docker_rig.of(mine.owner) == []
    (left,) = docker_rig.of(theirs.owner)
    assert left.status == "running"


def test_two_servers_on_one_engine_take_no_names_from_each_other(docker_rig: DockerRig) -> None:
    plans = docker_rig.plan(), docker_rig.plan()
    for containers in map(docker_rig.make, plans):
        start(containers)
    first, second = ({each.name for each in docker_rig.of(plan.owner)} for plan in plans)
    assert len(first | second) == 2


def test_an_engine_that_goes_away_ends_what_it_ran_and_holds_nobody_up(
    docker_rig: DockerRig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(Relay(docker_rig.host, tmp_path / "engine.sock")) as relay:
        plan = docker_rig.plan()
        containers = docker_rig.make(plan, host=relay.host)
        ended = start(containers)
        containers.pause(C1)
        found = freezer.find(docker_rig.attributes(C1)["State"]["Pid"], docker_rig.find(C1).id)
        assert found is not None and found.is_frozen in found.state.read_text()
        relay.cut()
        assert ended.get(timeout=WAIT_S) == C1
        assert containers.remove(C1) == Ending(None)
        assert found.is_frozen not in found.state.read_text()  # asleep it would hear no signal of the engine's
        assert "it is tried again, or remove it with `docker rm -f wskinstar" in caplog.text
        with pytest.raises(ContainerError, match=r"container c2 did not come up: .* cannot be made"):
            start(containers, C2)
        left = docker_rig.find(C1)  # which lives on where the engine has not ended
        relay.mend()
        with contextlib.suppress(docker.errors.NotFound):  # it may have gone at once
            left.wait(condition="removed", timeout=60)
        assert docker_rig.of(plan.owner) == []
