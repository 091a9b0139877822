"""Model packages of an archive are taken out of the function's reach, and it can still read them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

import instar
from instar.action import packages
from instar.errors import PackageError
from instar.weights.fetch import Fetcher
from instar.weights.store import Store
from tests.runtime.modules import Net

STORE = Store(Path("/no/store"))


@pytest.fixture
def action(tmp_path: Path) -> Path:
    """An action with two packages that share their weights by a link, and a file of its author's beside one."""
    action = tmp_path / "action"
    for name in ("one", "two"):
        (action / name).mkdir(parents=True)
        (action / name / "model.json").write_text(name)
    (action / "one" / "model.safetensors").write_text("weights")
    (action / "two" / "model.safetensors").symlink_to("../one/model.safetensors")
    (action / "one" / "labels.txt").write_text("labels")
    return action


def test_what_the_executor_reads_is_no_longer_the_functions(action: Path, tmp_path: Path) -> None:
    found = tuple((name, str(action / name)) for name in ("one", "two"))
    apart = dict(packages.set_apart(found, action, tmp_path / "kept", STORE))
    for name, folder in apart.items():
        assert Path(folder).is_relative_to(tmp_path / "kept")
        assert (Path(folder) / "model.json").read_text() == name
        assert not (Path(folder) / "model.json").is_symlink()
        weights = (Path(folder) / "model.safetensors").resolve()
        assert weights.read_text() == "weights" and weights.is_relative_to(tmp_path / "kept")
        assert weights.stat().st_mode & 0o777 == 0o444
        assert (action / name / "model.safetensors").read_text() == "weights"  # the function reads it as before
    assert (action / "one" / "labels.txt").read_text() == "labels"


def test_a_package_that_is_found_twice_is_moved_once(action: Path, tmp_path: Path) -> None:
    named = packages.named({"INSTAR_MODEL": "one/"}, action, tmp_path / "kept")
    assert named == (("one", str(action / "one")),)
    both = packages.set_apart((("one", str(action / "one")), *named), action, tmp_path / "kept", STORE)
    assert both[0] == both[1]


def test_a_package_elsewhere_stays_where_it_is(action: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.json").write_text("{}")
    found = packages.named({"INSTAR_MODEL": str(tmp_path / "models")}, action, tmp_path / "kept")
    assert packages.set_apart(found, action, tmp_path / "kept", STORE) == (("models", str(tmp_path / "models")),)


def test_a_folder_without_a_package_is_named(action: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"INSTAR_MODEL names .*/three, which is no model package"):
        packages.named({"INSTAR_MODEL": "three"}, action, tmp_path / "kept")


def test_weights_that_only_the_node_has_can_be_read_where_the_archive_would_have_them(tmp_path: Path) -> None:
    folder = tmp_path / "action" / "net"
    instar.pack(Net().eval(), {"x": torch.zeros(2, 3, 16, 16)}, folder)
    whole = (folder / "model.safetensors").read_bytes()
    store = Store(tmp_path / "store")
    fetcher = Fetcher(store)
    weights = instar.package.peek_weights((folder / "model.json").read_bytes())
    with contextlib.closing(fetcher.begin(weights, folder / "model.safetensors")) as arrival:
        arrival.wait_all()
    fetcher.settle()
    fetcher.close()
    (folder / "model.safetensors").unlink()
    ((_, apart),) = packages.set_apart((("net", str(folder)),), tmp_path / "action", tmp_path / "kept", store)
    assert (folder / "model.safetensors").read_bytes() == whole
    assert not (Path(apart) / "model.safetensors").exists()  # the executor asks the store


def test_weights_that_nobody_has_leave_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "action" / "net"
    instar.pack(Net().eval(), {"x": torch.zeros(2, 3, 16, 16)}, folder)
    (folder / "model.safetensors").unlink()
    packages.set_apart((("net", str(folder)),), tmp_path / "action", tmp_path / "kept", STORE)
    assert not (folder / "model.safetensors").is_symlink()
