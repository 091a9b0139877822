"""What is packed is the module: bit for bit, each tensor once, aligned, readable by other tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import instar
from instar.errors import InputError, PackError
from instar.executor.load import load
from instar.package import decode
from instar.weights import layout
from instar.weights.store import Store
from tests.packages import modules

Packed = tuple[torch.nn.Module, Path]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_program_gives_what_the_module_gives(packed: Packed, store: Store, batch: int) -> None:
    module, directory = packed
    x = torch.randn(batch, 3, 8, 8)
    with torch.inference_mode():
        expected = module(x)
    (found,) = load(directory, store=store).run({"x": x})
    assert torch.equal(expected, found)


def test_ties_buffers_constants_and_odd_strides_survive(tmp_path: Path, store: Store) -> None:
    module = modules.Tied().eval()
    ids = torch.randint(0, 11, (2, 4))
    package = instar.pack(module, [ids], tmp_path / "m", dims={"ids": {0: "batch"}}, bounds={"batch": (1, 4)})
    assert package.signature.result == "dict"
    names = [t.name for t in package.tensors]
    assert {"scale", "turned", "lifted_tensor_0"} < set(names)
    assert len([n for n in names if n in ("embed.weight", "head.weight")]) == 1
    turned = next(t for t in package.tensors if t.name == "turned")
    assert turned.strides == (1, 6)
    model = load(tmp_path / "m", store=store)
    with torch.inference_mode():
        expected = module(ids)
    found = dict(zip((p.name for p in model.signature.outputs), model.run({"ids": ids}), strict=True))
    assert set(found) == {"logits", "hidden"}
    assert all(torch.equal(expected[name], found[name]) for name in found)


def test_an_input_may_have_the_name_of_a_builtin(tmp_path: Path, store: Store) -> None:
    module, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    instar.pack(module, x, tmp_path / "m", dims={"input": {0: "n"}}, bounds={"n": (1, 8)})
    with torch.inference_mode():
        assert torch.equal(module(x), load(tmp_path / "m", store=store).run({"input": x})[0])


def test_other_tools_read_the_weights_file(packed: Packed) -> None:
    module, directory = packed
    package = decode((directory / "model.json").read_bytes())
    state = module.state_dict()
    with safetensors.safe_open(directory / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        names = [n for n in file.keys() if not n.startswith(layout.PAD_PREFIX)]  # noqa: SIM118 (not a dict)
        assert set(names) == {t.name for t in package.tensors}
        assert all(torch.equal(file.get_tensor(n), state[n]) for n in names)


def test_tensors_lie_in_execution_order_on_64_byte_boundaries(packed: Packed) -> None:
    package = decode((packed[1] / "model.json").read_bytes())
    offsets = [t.offset for t in package.tensors]
    assert offsets == sorted(offsets)
    assert all(o % 64 == 0 for o in offsets)
    assert package.tensors[0].name == "conv.weight" and package.tensors[-1].name == "head.bias"


def test_packing_twice_gives_the_same_digests(packed: Packed, tmp_path: Path) -> None:
    module, directory = packed
    again = instar.pack(module, torch.zeros(5, 3, 8, 8), tmp_path / "again", dims={"x": {0: "batch"}},
                        bounds={"batch": (1, 8)})  # fmt: skip
    assert again.digest == decode((directory / "model.json").read_bytes()).digest


def test_other_weights_keep_the_structure_and_change_the_model(packed: Packed, tmp_path: Path) -> None:
    other = instar.pack(modules.convolutional(seed=5), torch.zeros(2, 3, 8, 8), tmp_path / "o",
                        dims={"x": {0: "batch"}}, bounds={"batch": (1, 8)})  # fmt: skip
    first = decode((packed[1] / "model.json").read_bytes())
    assert other.structure_digest == first.structure_digest
    assert other.digest != first.digest


def test_packing_leaves_the_module_in_the_mode_it_was_in(tmp_path: Path) -> None:
    module = modules.Convolutional()
    module.norm.eval()
    instar.pack(module, torch.zeros(2, 3, 8, 8), tmp_path / "m")
    assert module.training and module.conv.training and not module.norm.training


def test_a_traced_program_from_a_file_is_packed(packed: Packed, tmp_path: Path, store: Store) -> None:
    module, _ = packed
    x = torch.randn(2, 3, 8, 8)
    traced = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4)},))
    torch.export.save(traced, tmp_path / "m.pt2")
    package = instar.pack(torch.export.load(tmp_path / "m.pt2"), {}, tmp_path / "m")
    assert package.signature.dims[0][1].max == 4
    with torch.inference_mode():
        assert torch.equal(module(x), load(tmp_path / "m", store=store).run({"x": x})[0])


REFUSED = {
    "a branch on a value": (modules.Branching, (2, 3), "modules.py:", "torch.where"),
    "state between calls": (modules.Counting, (2, 3), "calls", "keeps no state"),
    "random numbers": (modules.Noisy, (2, 3), "modules.py:", "aten.rand.default"),
    "a size that is not dynamic": (modules.Fixed, (2, 3), "n = 2", "fixed size"),
    "weights that are not there": (modules.Unready, (2, 3), "head", "load the weights first"),
}


@pytest.mark.parametrize(("kind", "shape", "where", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_packed_is_refused_with_place_and_remedy(
    kind: type[torch.nn.Module], shape: tuple[int, ...], where: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(PackError) as caught:
        instar.pack(kind(), torch.zeros(shape), tmp_path / "m", dims={"x": {0: "n"}}, bounds={"n": (1, 9)})
    assert where in str(caught.value) and what in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten_unless_asked(packed: Packed, tmp_path: Path) -> None:
    module = packed[0]
    (tmp_path / "other").mkdir()
    with pytest.raises(PackError, match="exists already"):
        instar.pack(module, torch.zeros(1, 3, 8, 8), tmp_path / "other")
    with pytest.raises(PackError, match="no model package"):
        instar.pack(module, torch.zeros(1, 3, 8, 8), tmp_path / "other", overwrite=True)
    instar.pack(module, torch.zeros(1, 3, 8, 8), tmp_path / "m")
    instar.pack(module, torch.zeros(2, 3, 8, 8), tmp_path / "m", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "other"]


def test_an_unwritable_target_is_a_clear_error(packed: Packed) -> None:
    with pytest.raises(PackError, match="cannot be written"):
        instar.pack(packed[0], torch.zeros(1, 3, 8, 8), "/proc/nowhere/model")


def test_a_full_disk_leaves_nothing_behind(packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("instar.weights.writer.os.fsync", full)
    with pytest.raises(PackError, match="No space left on device"):
        instar.pack(packed[0], torch.zeros(1, 3, 8, 8), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dims", "bounds", "reason"),
    [
        ({"x": {0: "n"}}, {}, "no bounds"),
        ({"y": {0: "n"}}, {"n": (1, 4)}, "no input 'y'"),
        ({"x": {7: "n"}}, {"n": (1, 4)}, "no axis 7"),
        ({"x": {0: "n"}}, {"n": (5, 4)}, "least size comes first"),
        ({"x": {0: "n"}}, {"n": (0, 1)}, "fixed size"),
        ({}, {"n": (1, 4)}, "no input has the dimension"),
    ],
)
def test_odd_dimensions_are_refused(
    packed: Packed, tmp_path: Path, dims: dict[str, dict[int, str]], bounds: dict[str, tuple[int, int]], reason: str
) -> None:
    with pytest.raises(PackError, match=reason):
        instar.pack(packed[0], torch.zeros(2, 3, 8, 8), tmp_path / "m", dims=dims, bounds=bounds)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "takes the inputs x"),
        ({"y": torch.zeros(1, 3, 8, 8)}, "takes the inputs x"),
        ({"x": torch.zeros(1, 3, 8, 8, dtype=torch.float64)}, "float64; the model takes float32"),
        ({"x": torch.zeros(1, 3, 8, 9)}, r"\[1, 3, 8, 9\]; the model takes \[batch, 3, 8, 8\]"),
        ({"x": torch.zeros(3, 8, 8)}, "the model takes"),
        ({"x": torch.zeros(9, 3, 8, 8)}, "'batch' is 9; the model takes 1 to 8"),
        ({"x": torch.zeros(0, 3, 8, 8)}, "'batch' is 0"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    packed: Packed, store: Store, inputs: dict[str, torch.Tensor], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        load(packed[1], store=store).run(inputs)


def test_model_json_is_json_that_people_can_read(packed: Packed) -> None:
    text = (packed[1] / "model.json").read_text()
    assert json.loads(text)["format"] == "instar-model"
    assert any(line.startswith('["aten.conv2d.default"') for line in text.splitlines())
