"""The wheels that images are made of, laid ready for the build in `build/image/wheels`.

    pip/         pip itself, since the base need not have it
    torch/       torch, the build for CPUs
    packages/    everything in packages.txt, for the action image
    controller/  everything in controller.txt, for the controller's
    instar/      this checkout

The rule: constraints.txt decides the versions, pip's own configuration decides where they come from, and a folder
is there only when it is whole. A build of torch for GPUs is refused: it is four times the size and asks for more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

from deploy.image import content, names
from deploy.image.errors import WheelError
from deploy.image.recipes import Recipe
from packaging.utils import canonicalize_name

WHEELS = names.BUILD / "wheels"
CONSTRAINTS = names.DEPLOY / "constraints.txt"
# Times in Instar's wheel: the earliest that a zip archive can hold.
EPOCH = "315532800"
# The base's C library is 2.36; wheels say which one they need at least.
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux_2_5")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Docker and as Python name them
_FOR_GPUS = re.compile(r"(nvidia|cuda|triton|pytorch[-_]triton)", re.IGNORECASE)

Say = Callable[[str], None]


def lay_ready(recipe: Recipe, architecture: str, say: Say) -> None:
    """Fill the recipe's folders for an engine of this architecture, as Docker names it. Raises `WheelError`."""
    if architecture not in MACHINES:
        raise WheelError(f"there is no torch for {architecture}; images are built for {' and '.join(MACHINES)}")
    machine = MACHINES[architecture]
    folders = {"pip": ["pip"], recipe.folder: packages(recipe)}
    if recipe.has_torch:
        folders["torch"] = ["torch"]
    for folder, wanted in folders.items():
        _download(folder, machine, pinned(wanted), say)
    say("Instar's own wheel")
    with tempfile.TemporaryDirectory(dir=_made(names.BUILD), prefix="wheel-") as temporary:
        own(Path(temporary))
        _show(Path(temporary), WHEELS / "instar")


def packages(recipe: Recipe) -> list[str]:
    """What the image holds beside torch and Instar, by name."""
    lines = (line.strip() for line in recipe.packages.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pinned(wanted: list[str]) -> list[str]:
    """These packages with the versions of constraints.txt. Raises `WheelError` where that has none."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").split()
    versions = {canonicalize_name(line.partition("==")[0]): line for line in lines}
    if missing := [name for name in wanted if canonicalize_name(name) not in versions]:
        raise WheelError(f"deploy/constraints.txt has no version of {', '.join(missing)}, which the image needs")
    return [versions[canonicalize_name(name)] for name in wanted]


def own(target: Path) -> Path:
    """Instar's wheel, written to a folder; the same sources give the same bytes. Raises `WheelError`."""
    with tempfile.TemporaryDirectory(prefix="instar-wheel-") as copy:
        # Of a copy, for a build leaves files behind that would be part of the next one.
        for path in content.files(*content.SOURCES):
            place = _made((Path(copy) / path.relative_to(names.ROOT)).parent) / path.name
            shutil.copyfile(path, place)
            place.chmod(0o644)
        for folder in (Path(copy), *(path for path in Path(copy).rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        command = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), copy]
        _pip(command, "Instar's wheel cannot be built", SOURCE_DATE_EPOCH=EPOCH)
    (wheel,) = target.glob("instar-*.whl")
    return wheel


def refuse_gpu_build(folder: Path) -> None:
    """Raise `WheelError` if a wheel in `folder` is for GPUs, or asks for one that is."""
    for wheel in sorted(folder.glob("*.whl")):
        asked = next((name for name in (wheel.name, *_requirements(wheel)) if _FOR_GPUS.match(name)), None)
        if asked is not None:
            raise WheelError(
                f"{wheel.name} is for NVIDIA GPUs ({asked}); the image takes the build for CPUs: point pip at the "
                "index of those that PyTorch's installation page names (`pip config set global.extra-index-url …`), "
                "or at a folder that holds the wheel (`pip config set global.find-links …`)"
            )


def _download(name: str, machine: str, wanted: list[str], say: Say) -> None:
    """Fill one folder, unless it was filled with the same."""
    folder = WHEELS / name
    wish = " ".join([machine, *wanted])
    stamp = names.BUILD / f"wheels-{name}.txt"  # there only while the folder is whole
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wish:
        return
    say(f"wheels: {name}")
    command = ["download", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={names.PYTHON}"]
    command += [f"--abi={abi}" for abi in ("cp" + names.PYTHON.replace(".", ""), "abi3", "none")]
    command += [f"--platform={platform}_{machine}" for platform in PLATFORMS]
    with tempfile.TemporaryDirectory(dir=_made(names.BUILD), prefix="wheels-") as temporary:
        _pip([*command, f"--dest={temporary}", *wanted], f"the wheels for '{name}' cannot be had")
        refuse_gpu_build(Path(temporary))
        stamp.unlink(missing_ok=True)
        _show(Path(temporary), folder)
    stamp.write_text(wish, encoding="utf-8")


def _pip(arguments: list[str], problem: str, **environ: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or [done.stdout.strip()]
        raise WheelError(f"{problem}: {errors[-1]}")


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])


def _show(folder: Path, at: Path) -> None:
    """Put the wheels of `folder` in the place of whatever is `at` this place."""
    shutil.rmtree(at, ignore_errors=True)
    _made(at)
    for wheel in sorted(folder.glob("*.whl")):
        shutil.move(wheel, at / wheel.name)
        (at / wheel.name).chmod(0o644)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
