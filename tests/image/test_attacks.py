"""Attacks from inside a handler that the container bears without harm: the function and its models answer as before.

Against the image, in a real engine. Attacks that cost the function its life are in `test_fatal_attacks.py`.
"""

from __future__ import annotations

import http.client
import textwrap
from collections.abc import Iterator

import pytest
from deploy.image.engine import Engine

from tests.image.conftest import Start
from tests.image.containers import ImageContainer
from tests.runtime import attacks
from tests.runtime.attacks import REFUSED, do, is_well
from tests.runtime.containers import SENTINEL

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def attacked(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageContainer]:
    container = ImageContainer(engine.client, image, labels={"instar.test": "attacks"})
    assert container.init(attacks.archive(tmp_path_factory.mktemp("models"))).status == 200
    yield container
    container.close()


@pytest.fixture
def container(attacked: ImageContainer) -> Iterator[ImageContainer]:
    """The one container of these attacks, which must be as before after each."""
    before = attacked.processes()
    yield attacked
    assert is_well(attacked)
    assert attacked.processes() == before


def refusals(container: ImageContainer, attack: str) -> dict[str, str]:
    """How an attack on each other process, `pid`, went: the name of what it raised, or `done`."""
    program = "value = {role: tried(lambda: %s)[0] for role, pid in others().items()}"
    found = do(container, program % attack)
    assert found.keys() == {"runtime", "proxy", "zygote", "executor"}, found
    return dict(found)


READS = {
    "memory": "open(f'/proc/{pid}/mem', 'rb').read(1)",
    "environment": "open(f'/proc/{pid}/environ').read()",
    "map": "open(f'/proc/{pid}/maps').read()",
    "descriptors": "os.listdir(f'/proc/{pid}/fd')",
    "folder": "os.listdir(f'/proc/{pid}/cwd')",
    "root": "os.listdir(f'/proc/{pid}/root')",
    "piece of memory": "call('process_vm_readv', pid, (ctypes.c_void_p * 2)(id(0), 8), 1,"
    " (ctypes.c_void_p * 2)(id(0), 8), 1, 0)",
    "trace": "call('ptrace', 16, pid, 0, 0)",  # PTRACE_ATTACH
    "seize": "call('ptrace', 0x4206, pid, 0, 0)",
    "steal a descriptor": "call('syscall', 438, os.pidfd_open(pid), 0, 0)",  # pidfd_getfd
}


@pytest.mark.parametrize("attack", READS.values(), ids=READS.keys())
def test_no_other_process_can_be_read(container: ImageContainer, attack: str) -> None:
    assert set(refusals(container, attack).values()) <= REFUSED


def test_one_user_for_all_still_cannot_read_the_others(start: Start) -> None:
    """Started as a user that is not root, the function is its runtime's user and can end it, but not look into it."""
    container = start(user="1000:1000", labels={"instar.test": "attacks"})
    assert container.init(attacks.PLAIN).status == 200
    for attack in READS.values():
        assert set(refusals(container, attack).values()) <= REFUSED, attack
    assert do(container, "value = open('/proc/self/environ').read() and len(os.listdir('/proc/self/fd'))") > 3
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        do(container, "value = os.kill(others()['proxy'], 9)")
    assert container.await_end() == 1


@pytest.mark.parametrize("number", [1, 2, 9, 10, 15, 17, 19])
def test_no_other_process_can_be_signalled(container: ImageContainer, number: int) -> None:
    assert set(refusals(container, f"os.kill(pid, {number})").values()) == {"PermissionError"}


CHANGES = {
    "priority": "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "processor": "os.sched_setaffinity(pid, {0})",
    "limit": "__import__('resource').prlimit(pid, 7, (3, 3))",
    "oom score": "open(f'/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "memory": "open(f'/proc/{pid}/mem', 'r+b').write(b'x')",
    "clear refs": "open(f'/proc/{pid}/clear_refs', 'w').write('1')",
}


@pytest.mark.parametrize("attack", CHANGES.values(), ids=CHANGES.keys())
def test_no_other_process_can_be_changed(container: ImageContainer, attack: str) -> None:
    assert set(refusals(container, attack).values()) <= REFUSED


def test_a_signal_to_everybody_reaches_the_functions_own_only(container: ImageContainer) -> None:
    program = "child = subprocess.Popen(['sleep', '60']); value = [tried(lambda: os.kill(-1, 9))[0], child.wait()]"
    assert do(container, program) == ["done", -9]


GAINS = {
    "root": "os.setuid(0)",
    "the runtime's user": "os.setuid(65532)",
    "a group": "os.setgroups([0])",
    "an owner": "os.chown('.', 0, 0)",
    "another root": "os.chroot('.')",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a device": "os.mknod('device', 0o60666, os.makedev(8, 0))",
    "a mount": "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "a namespace of users": "call('unshare', 0x10000000)",
    "a namespace of mounts": "call('unshare', 0x20000)",
    "a capability": "call('prctl', 47, 2, 7, 0, 0)",  # PR_CAP_AMBIENT_RAISE, CAP_SETUID
    "a score": "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1')",
    "a clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "a host name": "socket.sethostname('x')",
    "more files": "__import__('resource').setrlimit(7, (4096, 4096))",
    "more processes": "__import__('resource').setrlimit(6, (-1, -1))",
    "more memory": "__import__('resource').setrlimit(2, (-1, -1))",
    "core files": "__import__('resource').setrlimit(4, (-1, -1))",
}


@pytest.mark.parametrize("attack", GAINS.values(), ids=GAINS.keys())
def test_nothing_more_can_be_had(container: ImageContainer, attack: str) -> None:
    kind, text = do(container, f"value = tried(lambda: {attack})")
    assert kind in ("PermissionError", "ValueError", "OSError"), (kind, text)  # setrlimit raises ValueError


def test_no_program_raises_a_functions_rights(container: ImageContainer) -> None:
    program = """
    status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
    setuid = subprocess.run(['find', '/', '-xdev', '-perm', '/6000', '-type', 'f'], capture_output=True, text=True)
    child = subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True).stdout
    value = [status['NoNewPrivs'], 'NoNewPrivs:\\t1' in child, setuid.stdout]
    """
    assert do(container, textwrap.dedent(program)) == ["1", True, ""]


def test_code_of_the_runtime_and_of_libraries_cannot_be_written(container: ImageContainer) -> None:
    program = """
    import sysconfig
    targets = [os.__file__, instar.__file__, torch.__file__, sys.executable, '/etc/passwd', '/etc/ld.so.preload',
               os.path.join(sysconfig.get_path('purelib'), 'sitecustomize.py'), '/usr/local/bin/new', '/var/lib/new']
    value = {path: tried(lambda: open(path, 'a').write('#'))[0] for path in targets}
    """
    found = do(container, textwrap.dedent(program))
    assert len(found) == 9 and set(found.values()) == {"PermissionError"}


def test_weights_and_packages_cannot_be_written_moved_or_looked_around_in(container: ImageContainer) -> None:
    program = """
    folder = os.path.realpath('models/pair')
    real = os.path.dirname(os.path.realpath('models/pair/model.safetensors'))
    store = os.environ['INSTAR_STORE']
    value = {
        'apart': real != folder,
        'readable': len(open('models/pair/model.json').read()) > 100,
        'append': tried(lambda: open('models/pair/model.safetensors', 'ab')),
        'truncate': tried(lambda: os.truncate('models/pair/model.safetensors', 0)),
        'mode': tried(lambda: os.chmod('models/pair/model.safetensors', 0o777)),
        'unlink': tried(lambda: os.unlink(real + '/model.safetensors')),
        'replace': tried(lambda: os.rename('__main__.py', real + '/model.safetensors')),
        'move': tried(lambda: os.rename(real, real + '2')),
        'link': tried(lambda: os.link(real + '/model.safetensors', 'mine')),
        'new': tried(lambda: open(store + '/weights/new', 'w')),
        'look': tried(lambda: os.listdir(store)),
        'move store': tried(lambda: os.rename(store + '/weights', store + '/w')),
        'work': tried(lambda: os.rename('../packages', '../p')),
        'own': tried(lambda: os.rename(os.getcwd(), os.getcwd() + '2')),
    }
    """
    found = do(container, textwrap.dedent(program))
    assert found.pop("apart") and found.pop("readable")
    assert {name: kind for name, (kind, _) in found.items()} == dict.fromkeys(found, "PermissionError")


def test_links_that_a_function_turns_round_lead_nobody_astray(container: ImageContainer) -> None:
    program = """
    os.unlink('models/wide/model.json')
    os.symlink('/etc/passwd', 'models/wide/model.json')
    os.mkfifo('models/wide/fifo')
    value = float(instar.model('wide')(torch.ones(2, 1)).sum())
    """
    assert do(container, textwrap.dedent(program)) == 2000.0


def test_opening_thousands_of_files_is_an_error_of_that_run(container: ImageContainer) -> None:
    program = "files = []; value = tried(lambda: [files.append(open('/dev/null')) for _ in range(10_000)])"
    kind, text = do(container, program)
    assert kind == "OSError" and "Too many open files" in text


def test_an_aborted_child_leaves_no_core_file(container: ImageContainer) -> None:
    program = """
    child = subprocess.run([sys.executable, '-c', 'import os; os.abort()'])
    value = [child.returncode, [name for name in os.listdir('.') if 'core' in name]]
    """
    assert do(container, textwrap.dedent(program)) == [-6, []]


def test_printed_sentinels_forge_no_answer(container: ImageContainer) -> None:
    program = f"print('{SENTINEL}'); print('{SENTINEL}', file=sys.stderr); value = 7"
    assert do(container, program) == 7
    assert do(container, "value = 8") == 8


def test_a_stream_can_be_opened_by_name_and_not_be_read(container: ImageContainer) -> None:
    answer = container.run({"do": "value = open('/dev/stdout', 'w').write('by name\\n')"})
    assert answer.json == {"value": 8}
    assert "by name" in answer.out
    assert do(container, "value = tried(lambda: open('/proc/self/fd/1').read(1))")[0] == "PermissionError"


FORGED = {
    "noise": "b'noise'",
    "no number": '[1,"grow",-1]',
    "too large an arena": '[1,"grow",2147483648]',
    "behind the arena": '[1,"call","pair",[["ids","int64",[1],1073741824],["mask","bool",[1],0]]]',
    "across its end": '[1,"call","pair",[["ids","int64",[16777216],64],["mask","bool",[1],0]]]',
    "wrong dtype": '[1,"call","pair",[["ids","float32",[1],0],["mask","bool",[1],64]]]',
    "no dtype": '[1,"call","pair",[["ids","__class__",[1],0],["mask","bool",[1],64]]]',
    "wrong length": '[1,"call","pair",[["ids","int64",[2],0],["mask","bool",[3],64]]]',
    "unaligned": '[1,"call","pair",[["ids","int64",[1],1],["mask","bool",[1],64]]]',
    "2 GiB": '[1,"call","pair",[["ids","int64",[268435456],0],["mask","bool",[268435456],0]]]',
    "many views of the same bytes": '[1,"call","pair",['
    + ",".join(f'["x{n}","uint8",[16777216],0]' for n in range(1000))
    + "]]",
    "a nest": "[" * 60_000,
    "too long": " " * 140_000,
}


@pytest.mark.parametrize("frame", FORGED.values(), ids=FORGED.keys())
def test_a_forged_frame_to_the_executor_is_answered_with_an_error(container: ImageContainer, frame: str) -> None:
    send = (
        f"double(1); s = session(); s.settimeout(20); s.send({frame.encode()!r}); value = json.loads(s.recv(1 << 20))"
    )
    _, kind, name, text = do(container, send)
    assert (kind, name) in [("failed", "ProtocolError"), ("failed", "InputError")], text


def test_a_model_whose_result_would_take_all_memory_is_an_error_of_that_call(container: ImageContainer) -> None:
    kind, text = do(container, "value = float(instar.model('wide')(torch.zeros(2_000_000, 1)).sum())")  # 8 GB
    assert kind == "ExecutionError" and "memory" in text
    kind, _ = do(container, "value = float(instar.model('wide')(torch.zeros(100_000, 1)).sum())")  # 400 MB of 512
    assert kind in ("ExecutionError", "InputError")


def test_more_memory_than_the_container_has_is_a_memory_error(container: ImageContainer) -> None:
    assert do(container, "value = len(bytearray(1 << 31))")[0] == "MemoryError"


def test_a_socket_to_ones_own_proxy_does_not_change_the_function(container: ImageContainer) -> None:
    program = """
    import urllib.request, urllib.error
    body = json.dumps({'value': {'code': 'def main(a): return {}', 'binary': False}}).encode()
    request = urllib.request.Request('http://127.0.0.1:8080/init', body, {'Content-Type': 'application/json'})
    try:
        value = urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        value = error.code
    """
    assert do(container, textwrap.dedent(program)) == 403
