"""`instar.model()` in a handler: what goes in, what comes out, bit-equal to the module."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import instar
from tests.runtime.containers import Container, Exchange, zipped, zipped_folder
from tests.runtime.modules import Named, Net, Pair, Wide

pytestmark = pytest.mark.system

# One handler for all tests: it evaluates an expression over a model and tells what came of it.
HANDLER = """
import json, os, threading
import numpy as np
import torch
import instar

MODELS = {}

def plain(value):
    if isinstance(value, torch.Tensor):
        return {'dtype': str(value.dtype), 'shape': list(value.shape), 'values': value.double().flatten().tolist()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value

def model(name=None):
    return MODELS.setdefault(name, instar.model(name))

def main(args):
    try:
        return {'value': plain(eval(args['do'], globals()))}
    except Exception as error:
        return {'error': {'type': type(error).__name__, 'text': str(error)}}
"""


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(7)
    return Net().eval()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, net: Net) -> Path:
    """A folder of four packages: net, pair, named, wide."""
    root = tmp_path_factory.mktemp("packages")
    batch: dict[str, Any] = {"bounds": {"n": (1, 10_000)}}
    instar.pack(net, {"x": torch.zeros(2, 3, 16, 16)}, root / "net", dims={"x": {0: "n"}}, **batch)
    pair = {"ids": torch.arange(4), "mask": torch.ones(4, dtype=torch.bool)}
    instar.pack(Pair(), pair, root / "pair", dims={"ids": {0: "n"}, "mask": {0: "n"}}, **batch)
    instar.pack(Named(), {"x": torch.zeros(3, dtype=torch.bfloat16)}, root / "named")
    instar.pack(Wide(), {"x": torch.zeros(3, 1)}, root / "wide", dims={"x": {0: "n"}}, **batch)
    return root


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Container]:
    """A container whose action has all four models, for every test of this file."""
    container = Container(tmp_path_factory.mktemp("container"), "--arena-mib", "64")
    answer = container.init(zipped_folder(packages, "models", {"__main__.py": HANDLER}))
    assert answer.status == 200, answer
    yield container
    container.close()


def evaluate(container: Container, expression: str) -> Any:
    answer = container.run({"do": expression})
    assert answer.status == 200, answer
    return answer.json["value"] if "value" in answer.json else answer.json["error"]


def tensor(plain: dict[str, Any]) -> torch.Tensor:
    """What `plain` in the handler took apart."""
    dtype = getattr(torch, plain["dtype"].removeprefix("torch."))
    return torch.tensor(plain["values"], dtype=torch.float64).to(dtype).reshape(plain["shape"])


def image(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


IMAGE = "torch.randn({count}, 3, 16, 16, generator=torch.Generator().manual_seed({seed}))"


@pytest.mark.parametrize("count", [1, 5])
def test_the_answer_is_bit_equal_to_the_modules(container: Container, net: Net, count: int) -> None:
    found = evaluate(container, f"model('net')({IMAGE.format(count=count, seed=count)})")
    with torch.inference_mode():
        assert torch.equal(tensor(found), net(image(count, count)))


@pytest.mark.parametrize(
    "form", ["np.asarray({x})", "np.asarray({x}).astype('>f4')", "np.asarray({x})[:, ::-1].copy()[:, ::-1]"]
)
def test_numpy_arrays_of_any_byte_order_and_stride_are_taken(container: Container, net: Net, form: str) -> None:
    found = evaluate(container, f"model('net')({form.format(x=IMAGE.format(count=2, seed=3))})")
    with torch.inference_mode():
        assert torch.equal(tensor(found), net(image(3, 2)))


def test_tensors_of_any_stride_are_taken(container: Container, net: Net) -> None:
    found = evaluate(
        container, f"model('net')({IMAGE.format(count=2, seed=4)}.to(memory_format=torch.channels_last))"
    )
    with torch.inference_mode():
        assert torch.equal(tensor(found), net(image(4, 2)))


def test_a_tensor_that_requires_a_gradient_is_taken(container: Container) -> None:
    assert evaluate(container, "model('named')(torch.ones(3, dtype=torch.bfloat16, requires_grad=True))['sum']")


def test_inputs_go_by_name_or_in_order(container: Container) -> None:
    ids, mask = "torch.arange(4)", "torch.tensor([True, True, True, False])"
    wanted = [[0, 2, 4, 6], [0, 0, 0, 0]]
    for call in (f"({ids}, {mask})", f"({ids}, mask={mask})", f"(mask={mask}, ids={ids})"):
        assert [output["values"] for output in evaluate(container, f"model('pair'){call}")] == wanted


def test_results_keep_the_form_of_the_modules(container: Container) -> None:
    assert evaluate(container, "type(model('pair')(torch.arange(4), torch.ones(4) > 0)).__name__") == "tuple"
    found = evaluate(container, "model('named')(torch.tensor([1, 2, 3], dtype=torch.bfloat16))")
    assert found == {
        "double": {"dtype": "torch.bfloat16", "shape": [3], "values": [2.0, 4.0, 6.0]},
        "sum": {"dtype": "torch.bfloat16", "shape": [], "values": [6.0]},
    }


def test_a_result_belongs_to_the_handler(container: Container) -> None:
    calls = "[model('named')(torch.full((3,), float(i), dtype=torch.bfloat16))['double'].add_(0) for i in range(4)]"
    assert [output["values"] for output in evaluate(container, calls)] == [[2.0 * i] * 3 for i in range(4)]


@pytest.mark.parametrize(
    "call, says",
    [
        ("(torch.zeros(1, 3, 16, 15))", "has the shape [1, 3, 16, 15]"),
        ("(torch.zeros(1, 3, 16, 16, dtype=torch.float64))", "is float64; the model takes float32"),
        ("(np.zeros((1, 3, 16, 16)))", "is float64; the model takes float32"),
        ("()", "the model takes the inputs x"),
        ("(torch.zeros(1), torch.zeros(1))", "takes 1 inputs (x); 2 were given"),
        ("(torch.zeros(1), x=torch.zeros(1))", "twice"),
        ("(y=torch.zeros(1))", "the model takes the inputs x; y were given"),
        ("([1.0, 2.0])", "is a list; a model takes tensors and numpy arrays"),
        ("(np.array(['text']))", "torch cannot take"),
        ("(torch.zeros(3, 3).to_sparse())", "takes dense ones"),
        ("(torch.zeros(8, dtype=torch.complex128))", "complex128"),
    ],
)
def test_an_input_that_does_not_fit_raises_input_error_in_the_handler(
    container: Container, call: str, says: str
) -> None:
    found = evaluate(container, f"model('net'){call}")
    assert found["type"] == "InputError"
    assert says in found["text"]


def test_a_refused_call_leaves_the_next_one_right(container: Container, net: Net) -> None:
    evaluate(container, "model('net')(torch.zeros(1))")
    test_the_answer_is_bit_equal_to_the_modules(container, net, 2)


def test_large_inputs_and_results_get_a_larger_arena(container: Container, net: Net) -> None:
    found = evaluate(container, "model('wide')(torch.arange(6000.)[:, None]).sum(1).div(1000)")  # 24 MB out
    assert torch.equal(tensor(found), torch.arange(6000.0))
    test_the_answer_is_bit_equal_to_the_modules(container, net, 3)
    found = evaluate(container, "model('net')(torch.ones(10_000, 3, 16, 16)[:7000])")  # 21 MB in
    assert found["shape"] == [7000, 7]


def test_more_than_the_arena_may_hold_is_an_input_error(container: Container, net: Net) -> None:
    found = evaluate(container, "model('net')(torch.ones(10_000, 3, 16, 256))")  # 469 MB
    assert found["type"] == "InputError" and "at most 67108864 pass" in found["text"]
    test_the_answer_is_bit_equal_to_the_modules(container, net, 3)


def test_an_unknown_model_is_named_with_those_there_are(container: Container) -> None:
    assert "it has named, net, pair, wide" in evaluate(container, "instar.model('other')")["text"]
    assert "several models" in evaluate(container, "instar.model()")["text"]


def test_a_model_says_what_it_takes(container: Container) -> None:
    assert evaluate(container, "[model('pair').inputs, len(model('pair').outputs)]") == [["ids", "mask"], 2]
    assert "named" in evaluate(container, "repr(model('named'))")


def test_threads_of_a_handler_take_turns(container: Container) -> None:
    """Each thread gets the answer to its own question."""
    source = (
        "[(lambda out: ([t.start() for t in ts], [t.join() for t in ts], out)[2])(out)"
        " for out in [{}] for ts in [[threading.Thread(target=lambda i=i: out.__setitem__(i,"
        " [int(model('pair')(torch.tensor([i] * k), torch.ones(k) > 0)[0].sum()) for k in range(1, 20)]))"
        " for i in range(4)]]][0]"
    )
    assert evaluate(container, source) == {str(i): [2 * i * k for k in range(1, 20)] for i in range(4)}


def test_an_interrupted_call_does_not_answer_the_next_one(container: Container) -> None:
    """A signal handler raises inside calls, at arbitrary moments; the values of later calls stay their own.

    However long a call takes on this machine, about half of them are interrupted.
    """
    source = """
import itertools, random, signal
class Tick(Exception): pass
def tick(*_): raise Tick
signal.signal(signal.SIGALRM, tick)
pair = instar.model('pair')
mask = torch.ones(2000, dtype=torch.bool)
random.seed(1)
interrupted = wrong = right = 0
longest_s = 6e-4
for i in itertools.count():
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, longest_s))
        doubled, _ = pair(torch.full((2000,), i), mask)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Tick:
        interrupted += 1
        longest_s *= 1.05
    else:
        longest_s = max(longest_s / 1.05, 4e-5)
        right += bool((doubled == 2 * i).all())
        wrong += not bool((doubled == 2 * i).all())
    if interrupted >= 200 and right >= 50 or i > 20_000:
        break
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
OUT = [interrupted >= 200, right >= 50, wrong]
"""
    found = evaluate(container, f"(lambda space: (exec({source!r}, space), space['OUT'])[1])(dict(globals()))")
    assert found == [True, True, 0]


def test_a_forked_child_cannot_mix_into_its_parents_calls(container: Container) -> None:
    source = """
import multiprocessing
def child(queue):
    try:
        MODELS['named'](torch.ones(3, dtype=torch.bfloat16))
    except Exception as error:
        queue.put([type(error).__name__, str(error)])
context = multiprocessing.get_context('fork')
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
OUT = queue.get(timeout=50)
process.join()
"""
    assert evaluate(container, "model('named').name") == "named"
    model = "MODELS.__setitem__('named', model('named'))"
    found = evaluate(container, f"({model}, (space := dict(globals())), exec({source!r}, space), space['OUT'])[-1]")
    assert found[0] == "ProcessError" and "the action's own process" in found[1]


def one(tmp_path: Path, files: dict[str, str | bytes], **value: Any) -> tuple[Exchange, Exchange | None]:
    """A container of its own: the answer to `/init`, and to a `/run` if there was a function."""
    container = Container(tmp_path / "one")
    try:
        init = container.init(zipped(files), **value)
        return init, container.run({"x": 1.0}) if init.status == 200 else None
    finally:
        container.close()


CALL = """import torch, instar
def main(args):
    return {'sum': float(instar.model()(torch.ones(3, dtype=torch.bfloat16))['sum'])}
"""


def test_a_package_at_the_archives_root_is_the_only_model(tmp_path: Path, packages: Path) -> None:
    files = {path.name: path.read_bytes() for path in (packages / "named").iterdir()}
    init, run = one(tmp_path, {"__main__.py": CALL, **files})
    assert init.status == 200, init
    assert run is not None and run.json == {"sum": 3.0}


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_package_is_named_by_an_init_parameter(tmp_path: Path, packages: Path, form: str) -> None:
    init, run = one(tmp_path, {"__main__.py": CALL}, env={"INSTAR_MODEL": form.format(packages / "named")})
    assert init.status == 200, init
    assert run is not None and run.json == {"sum": 3.0}


def test_a_model_can_be_had_while_the_module_is_imported(tmp_path: Path, packages: Path) -> None:
    source = "import torch, instar\nM = instar.model()\ndef main(args):\n    return {'name': M.name}\n"
    init, run = one(tmp_path, {"__main__.py": source}, env={"INSTAR_MODEL": str(packages / "net")})
    assert (init.status, run and run.json) == (200, {"name": "net"})


def test_a_damaged_structure_fails_the_init_and_says_why(tmp_path: Path, packages: Path) -> None:
    files: dict[str, str | bytes] = {f"m/{p.name}": p.read_bytes() for p in (packages / "net").iterdir()}
    document = json.loads(files["m/model.json"])
    document["structure"] = "0" * 64
    init, _ = one(tmp_path, {"__main__.py": CALL, **files, "m/model.json": json.dumps(document)})
    assert (init.status, init.json) == (502, {"error": "Cannot start action. Check logs for details."})
    assert "DigestError" in init.err and "model.json" in init.err
    assert init.sentinels == (1, 1)


def test_damaged_weights_in_the_archive_fail_the_run_and_say_why(tmp_path: Path, packages: Path) -> None:
    module = "import torch, instar\ndef main(args):\n    instar.model()(torch.zeros(1, 3, 16, 16))\n    return {}\n"
    files: dict[str, str | bytes] = {f"m/{p.name}": p.read_bytes() for p in (packages / "net").iterdir()}
    weights = bytearray(files["m/model.safetensors"])  # type: ignore[arg-type]
    weights[-5] ^= 1
    init, run = one(tmp_path, {"__main__.py": module, **files, "m/model.safetensors": bytes(weights)})
    assert init.status == 200, init
    assert run is not None and run.status == 200 and "model.safetensors" in run.json["error"]
    assert "DigestError" in run.err


def test_a_package_that_is_nowhere_fails_the_init(tmp_path: Path) -> None:
    init, _ = one(tmp_path, {"__main__.py": CALL}, env={"INSTAR_MODEL": "/nowhere/model"})
    assert init.status == 502
    assert "/nowhere/model" in init.err


def test_an_action_without_a_package_is_told_so_when_it_asks(tmp_path: Path) -> None:
    init, run = one(tmp_path, {"__main__.py": CALL})
    assert init.status == 200
    assert run is not None and "has no model package" in run.json["error"]


def test_a_librarys_own_model_json_is_no_package(tmp_path: Path) -> None:
    source = "def main(args):\n    return {}\n"
    init, _ = one(tmp_path, {"__main__.py": source, "library/model.json": json.dumps({"layers": 3})})
    assert init.status == 200, init


def test_two_packages_of_one_name_are_refused(tmp_path: Path, packages: Path) -> None:
    model = (packages / "named" / "model.json").read_bytes()
    init, _ = one(tmp_path, {"__main__.py": CALL, "a/m/model.json": model, "b/m/model.json": model})
    assert init.status == 502
    assert "two model packages named 'm'" in init.err


def test_a_package_comes_over_http(tmp_path: Path, packages: Path) -> None:
    handler = partial(_Quiet, directory=str(packages))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        init, run = one(tmp_path / "a", {"__main__.py": CALL}, env={"INSTAR_MODEL": f"{url}/named"})
        assert init.status == 200, init
        assert run is not None and run.json == {"sum": 3.0}
        init, _ = one(tmp_path / "b", {"__main__.py": CALL}, env={"INSTAR_MODEL": f"{url}/nothing"})
        assert init.status == 502 and "SourceError" not in init.json["error"]
        assert f"{url}/nothing/model.json" in init.err
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
