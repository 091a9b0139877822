"""Attacks from inside a handler that cost the function its life: nothing of it is left, and no one else pays.

Each has a container of its own. After a function's death OpenWhisk removes the container; until then it answers.
"""

from __future__ import annotations

import os
import socket
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.conftest import Start
from tests.image.containers import ANSWER_S, ImageContainer
from tests.runtime import attacks
from tests.runtime.attacks import PLAIN, dies, do
from tests.runtime.containers import await_end

pytestmark = pytest.mark.system

MIB = 1 << 20
LABELS = {"instar.test": "attacks"}
OURS = {"master", "proxy", "zygote", "executor"}
Placed = Callable[..., ImageContainer]


@pytest.fixture
def function(container: ImageContainer) -> ImageContainer:
    """A container with a function that does what it is told."""
    assert container.init(PLAIN).status == 200
    return container


@pytest.fixture
def small(start: Start) -> Iterator[ImageContainer]:
    """The same, with little room for files."""
    container = start(tmpfs={"/tmp": "size=48m,nr_inodes=20k,mode=1777"}, shm_size=16 * MIB, labels=LABELS)
    assert container.init(PLAIN).status == 200
    yield container


def inside(container: ImageContainer, path: str) -> Path:
    """A path of the container's, as root sees it from outside."""
    return Path(f"/proc/{container.pid}/root") / path.lstrip("/")


def free_mib(container: ImageContainer, path: str) -> int:
    status = os.statvfs(inside(container, path))
    return status.f_bavail * status.f_frsize // MIB


def left(container: ImageContainer) -> list[str]:
    """What lies in the places where everybody may write, but for the container's own directory."""
    folders = [inside(container, path) for path in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")]
    return [str(path) for folder in folders for path in folder.iterdir() if not path.name.startswith("instar-")]


LEAVING = """
    import mmap, tempfile
    pids = []
    def daemon():
        'Detached twice, deaf to what can be ignored.'
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, 32):
                    if number not in (9, 19):
                        signal.signal(number, signal.SIG_IGN)
                os.write(write, str(os.getpid()).encode())
                while True:
                    time.sleep(1000)
            os._exit(0)
        os.wait()
        return int(os.read(read, 20))
    daemons = [daemon() for _ in range(3)]
    open('/tmp/plain', 'w').write('a secret')
    open('/dev/shm/shared', 'w').write('a secret')
    open('/var/tmp/.hidden', 'w').write('a secret')
    os.makedirs('/tmp/a/b/c')
    open('/tmp/a/b/c/file', 'w').write('a secret')
    os.symlink('/var/lib/instar', '/tmp/a/link')
    os.chmod('/tmp/a/b', 0)
    assert libc.shmget(0x1234, 4096, 0o1666) >= 0
    assert libc.msgget(0x1234, 0o1666) >= 0
    assert libc.semget(0x1234, 1, 0o1666) >= 0
    listener = socket.create_server(('0.0.0.0', 9999))
"""


def ipc(container: ImageContainer) -> list[int]:
    """How many of each of System V's objects there are in the container."""
    tables = [container.handle.exec_run(f"cat /proc/sysvipc/{kind}").output for kind in ("shm", "msg", "sem")]
    return [len(table.splitlines()) - 1 for table in tables]


def test_nothing_of_a_function_that_dies_is_left(function: ImageContainer) -> None:
    found = do(function, textwrap.dedent(LEAVING) + "value = [len(daemons), len(others())]\n" + KEEP)
    assert found[0] == 3
    assert len(left(function)) >= 4 and ipc(function) == [1, 1, 1]
    assert function.processes().keys() == OURS | {"worker"} and len(function.group()) == 8
    with socket.create_connection((function.address, 9999), timeout=ANSWER_S):
        pass
    dies(function, "os._exit(3)")
    assert len(function.group()) == 4
    assert left(function) == [] and ipc(function) == [0, 0, 0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((function.address, 9999), timeout=ANSWER_S)


# The handler's namespace goes with the run; this keeps the socket for the function's life.
KEEP = "\nimport builtins\nbuiltins.kept = listener\n"


def test_nothing_of_a_function_that_could_not_start_is_left_and_another_one_can(container: ImageContainer) -> None:
    before = "import ctypes, os, signal, socket, time\nlibc = ctypes.CDLL(None)\n"
    answer = container.init(before + textwrap.dedent(LEAVING) + "raise SystemExit(1)\n")
    assert answer.status == 502, answer
    assert len(container.group()) == 4
    assert left(container) == [] and ipc(container) == [0, 0, 0]
    assert container.init(PLAIN).status == 200
    assert do(container, "value = sorted(os.listdir())") == ["__main__.py"]


def test_a_function_may_have_so_many_processes_and_no_more(start: Start) -> None:
    container = start(memory_mib=2048, pids_limit=200, labels=LABELS)
    assert container.init(PLAIN).status == 200
    program = """
    children, refused = [], None
    while refused is None:
        try:
            children.append(os.fork())
            if children[-1] == 0:
                signal.pause()
        except OSError as error:
            refused = error
    value = [len(children), refused.strerror]
    """
    count, text = do(container, textwrap.dedent(program), timeout_s=ANSWER_S)
    assert text == "Resource temporarily unavailable" and 90 < count <= 100  # half, and one is the worker
    dies(container, "os._exit(3)")
    assert len(container.group()) == 4


def test_processes_that_a_function_detaches_and_that_end_are_forgotten(start: Start) -> None:
    """Else their numbers would be used up, a few with each run."""
    container = start(pids_limit=100, labels=LABELS)
    assert container.init(PLAIN).status == 200
    program = """
    def fork():
        'They are forgotten as soon as somebody gets round to it, and until then they count.'
        while True:
            try:
                return os.fork()
            except BlockingIOError:
                time.sleep(0.01)

    for value in range(1, 101):
        if fork() == 0:
            if fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    """
    assert do(container, textwrap.dedent(program), timeout_s=ANSWER_S) == 100


@pytest.mark.timeout(300, func_only=True)  # a boot beside it takes its time
def test_a_fork_bomb_starves_nobody_and_ends_with_its_container(start: Start) -> None:
    """Every process of it forks for ever."""
    function = start(memory_mib=2048, pids_limit=200, labels=LABELS)
    assert function.init(PLAIN).status == 200
    with pytest.raises(TimeoutError):
        function.run({"do": "while True:\n    try: os.fork()\n    except OSError: pass"}, timeout_s=2)
    # The proxy still answers.
    assert function.post("/init", {"value": {"code": "x"}}, timeout_s=60).status == 403
    other = start(labels=LABELS)
    assert other.send("GET", "/ready", None, timeout_s=150).status == 200
    assert other.init(PLAIN).status == 200
    threads = "ts = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(50)]; [t.start() for t in ts]"
    started = do(other, threads + "; value = [t.join() for t in ts] and 'started'", timeout_s=ANSWER_S)
    assert started == "started"
    pids = function.group()
    function.close()  # by force, as OpenWhisk ends a container whose run takes too long
    for pid in pids:
        await_end(pid)


def test_a_full_disk_is_an_error_of_that_run_and_is_free_again(small: ImageContainer) -> None:
    program = """
    file = open('/tmp/large', 'wb')
    value = tried(lambda: [file.write(bytes(1 << 20)) for _ in range(1000)])
    """
    assert do(small, textwrap.dedent(program))[1].endswith("No space left on device")
    assert free_mib(small, "/tmp") == 0
    assert do(small, "value = 'still there'") == "still there"
    dies(small, "os._exit(3)")
    assert free_mib(small, "/tmp") >= 46


def test_a_disk_full_of_names_is_free_again(small: ImageContainer) -> None:
    program = """
    def fill():
        for n in range(10**6):
            os.makedirs(f'/tmp/{n}/a/b')
            open(f'/tmp/{n}/a/b/' + 'x' * 200, 'w').write('y' * 5000)
    value = tried(fill)
    """
    assert "No space left" in do(small, textwrap.dedent(program), timeout_s=60)[1]
    dies(small, "os._exit(3)", timeout_s=60)
    assert left(small) == [] and free_mib(small, "/tmp") >= 46


def test_full_shared_memory_is_an_error_of_that_run_and_is_free_again(small: ImageContainer) -> None:
    program = """
    file = open('/dev/shm/large', 'wb')
    value = tried(lambda: [file.write(bytes(1 << 20)) for _ in range(1000)])
    """
    assert do(small, textwrap.dedent(program))[1].endswith("No space left on device")
    dies(small, "os._exit(3)")
    assert free_mib(small, "/dev/shm") == 16


def test_beyond_the_containers_memory_the_function_is_ended_and_not_the_rest(function: ImageContainer) -> None:
    ours = {role: pid for role, pid in function.processes().items() if role != "worker"}
    # Of several children, each within its own limit, and all of them beyond the container's.
    program = """
    for _ in range(4):
        if os.fork() == 0:
            held = bytearray(os.urandom(1 << 20) * 300)
            signal.pause()
    held = bytearray(os.urandom(1 << 20) * 300)
    signal.pause()
    """
    answer = function.run({"do": textwrap.dedent(program)}, timeout_s=60)
    assert (answer.status, answer.json) == (400, {"error": "command exited"})
    assert function.processes() == ours
    assert len(function.group()) == 4


# Finds the worker's end of its channel to the proxy, among its descriptors.
CHANNEL = """
import gc

def is_channel(n):
    try:
        with socket.socket(fileno=os.dup(n)) as one:
            return one.type == socket.SOCK_STREAM
    except OSError:
        return False

channel = next(n for n in map(int, os.listdir('/proc/self/fd')) if n > 2 and is_channel(n))

# The number of the question that this run is, out of the worker's own objects.
number = next(one._asked for one in gc.get_objects() if type(one).__name__ == 'Channel')

def send(kind, size, payload, number=number):
    os.write(channel, struct.pack('<BQQ', kind, number, size) + payload)

"""
FRAMES = {
    "noise": "os.write(channel, b'noise' * 1000)",
    "an unknown kind": "send(99, 5, b'12345')",
    "a question instead of an answer": "send(4, 2, b'{}')",
    "more than is taken": "send(5, 1 << 62, b'')",
    "a refusal of a gigabyte": "send(6, 1 << 30, b'')",
    "a refusal of no status": "body = json.dumps({'status': 299, 'error': ''}).encode(); send(6, len(body), body)",
    "a nest": "send(6, 60_000, b'[' * 60_000)",
    "an answer to another question": "send(5, 2, b'{}', number ^ 1)",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_a_forged_frame_to_the_proxy_costs_the_function_its_life(function: ImageContainer, frame: str) -> None:
    dies(function, f"{CHANNEL}{frame}\nsignal.pause()\n")


def test_a_session_that_is_closed_in_the_middle_of_a_call_costs_the_executor_nothing(
    container: ImageContainer, tmp_path: Path
) -> None:
    assert container.init(attacks.archive(tmp_path)).status == 200
    before = container.processes()
    ask = """
    from instar.executor import protocol
    double(1)
    refs, _ = protocol.place([('x', 'float32', (1_000, 1))])
    for _ in range(50):
        session().send(protocol.encode(1, protocol.Call('wide', refs)))
    session().close()
    os._exit(3)
    """
    dies(container, textwrap.dedent(ask))
    assert container.processes() == {role: pid for role, pid in before.items() if role != "worker"}


def test_half_an_answer_and_a_death_are_an_error_at_once(function: ImageContainer) -> None:
    dies(function, CHANNEL + "send(5, 1000, b'{')\nos._exit(0)\n")


def test_an_answer_to_nobody_is_no_answer_to_the_next_caller(function: ImageContainer) -> None:
    first = function.run({"do": CHANNEL + "send(5, 13, b'{\"forged\": 1}')\nvalue = 1\n"})
    assert first.json == {"forged": 1}  # its own run, to answer as it likes
    # Its second answer is there before the next question, or comes after it: it is the answer to neither.
    second = function.run({"do": "value = 2"})
    assert second.status in (400, 500) and second.json == {"error": "command exited"}
    assert function.processes().keys() == OURS


def test_a_function_that_stops_itself_costs_its_caller_a_timeout_and_nobody_more(function: ImageContainer) -> None:
    with pytest.raises(TimeoutError):
        function.run({"do": "os.kill(os.getpid(), signal.SIGSTOP)"}, timeout_s=0.5)
    function.handle.stop(timeout=ANSWER_S)
    assert function.await_end() == 0
