"""Real models as the planner sees them: what `model.json` says of some of the zoo, kept between runs.

What is kept is found under the digest of the code that made it, so a change to tracing or packing makes it anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import instar
from instar import digests, package
from instar.package import MODEL_FILE, Package
from tests.models import zoo

ROOT = Path(__file__).parents[2]
SMALL = ["resnet20_cifar10", "sepreresnet20_cifar10", "densenet40_k12_bc_cifar10", "squeezenet_v1_1", "nin_cifar10",
         "mobilenetb_wd4", "bert", "gpt2"]  # fmt: skip


def named(name: str) -> zoo.Model:
    return next(m for m in (*zoo.ALL, *zoo.LARGE) if m.name == name)


def captured(model: zoo.Model, kept: Path) -> Package:
    """The package of a model, without its weights."""
    path = kept / f"{model.name}-{_made_by()[:16]}.json"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            out = Path(folder) / "package"
            instar.pack(model.module(), model.inputs(2), out, dims=model.dims, bounds=model.bounds)
            (out / MODEL_FILE).rename(path)
    return package.decode(path.read_bytes())


def _made_by() -> str:
    runtime = ROOT / "runtime" / "instar"
    sources = [*sorted((runtime / "graph").iterdir()), *sorted((runtime / "weights").glob("*.py"))]
    sources += [runtime / "packing.py", runtime / "package.py", ROOT / "tests" / "models" / "zoo.py"]
    content = [path.read_bytes() for path in sources if path.is_file()]
    return digests.hexdigest(b"".join([torch.__version__.encode(), *content]))
