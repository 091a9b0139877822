"""The wheels that the image is made of: pinned, for CPUs, and Instar's own always the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from deploy.image import content, names, recipes, wheels
from deploy.image.errors import WheelError
from deploy.image.recipes import Recipe


def wheel(folder: Path, name: str, *requirements: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {one}" for one in requirements)]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines))


@pytest.mark.system
def test_two_builds_of_instar_s_wheel_are_equal_byte_for_byte(tmp_path: Path) -> None:
    first, second = (wheels.own(tmp_path / name).read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.system
def test_instar_s_wheel_holds_the_sources_and_nothing_left_over(tmp_path: Path) -> None:
    with zipfile.ZipFile(wheels.own(tmp_path)) as archive:
        inside = {name for name in archive.namelist() if name.startswith("instar/")}
    package = names.ROOT / "runtime"
    assert inside == {str(path.relative_to(package)) for path in content.files("runtime/instar")}


def test_a_build_for_gpus_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "torch", "filelock", "nvidia-cublas==13.1; platform_system == 'Linux'")
    with pytest.raises(WheelError, match=r"torch-1\.0.* is for NVIDIA GPUs \(nvidia-cublas.*CPU"):
        wheels.refuse_gpu_build(tmp_path)


@pytest.mark.parametrize("name", ["nvidia_nccl", "triton", "cuda_bindings"])
def test_a_wheel_that_serves_gpus_is_refused(tmp_path: Path, name: str) -> None:
    wheel(tmp_path, name)
    with pytest.raises(WheelError, match=name):
        wheels.refuse_gpu_build(tmp_path)


def test_a_build_for_cpus_is_taken(tmp_path: Path) -> None:
    wheel(tmp_path, "torch", "filelock", "sympy>=1.13")
    wheels.refuse_gpu_build(tmp_path)


@pytest.mark.parametrize("recipe", recipes.ALL.values(), ids=recipes.ALL)
def test_every_package_of_an_image_has_one_version(recipe: Recipe) -> None:
    pins = wheels.pinned(["pip", "torch", *wheels.packages(recipe)])
    assert len(pins) == len(wheels.packages(recipe)) + 2
    assert all("==" in pin for pin in pins)


def test_a_package_without_a_version_is_an_error() -> None:
    with pytest.raises(WheelError, match=r"constraints\.txt has no version of left-pad"):
        wheels.pinned(["torch", "left-pad"])


def test_an_architecture_without_torch_is_an_error() -> None:
    with pytest.raises(WheelError, match="no torch for s390x"):
        wheels.lay_ready(recipes.ACTION, "s390x", lambda _: None)
