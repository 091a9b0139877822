"""The two runtimes that the benchmark of the image compares: ours and a plain one, each with the same function.

The rule: both come from the same image, start in the same way, get the same model with the same weights and one
thread of torch, and answer the same. A request is a new connection, as OpenWhisk makes one for each.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instar.action.privileges import RUNTIME_UID
from tests.bench import asking
from tests.image.containers import LABEL, PORT, ImageContainer
from tests.runtime.containers import zipped, zipped_folder

if TYPE_CHECKING:
    import docker
    import torch

Volumes = Mapping[str, Mapping[str, str]]

MEMORY_MIB = 1024
SERVER = Path(__file__).parent / "stock_like.py"
PLAIN = ["/opt/instar/bin/python", "-m", "gunicorn", "--chdir", "/stock", "--bind", f"0.0.0.0:{PORT}"]
PLAIN += ["--worker-class", "gthread", "--workers", "1", "--threads", "4", "--log-level", "error", "stock_like:app"]

# One handler; `call` is how the model is come by.
HANDLER = """
import torch
{call}
images = torch.randn({images}, 1, 3, 64, 64, generator=torch.Generator().manual_seed({seed}))

def main(args):
    return {{'scores': model(images[args['image']])[0].tolist()}} if 'image' in args else args
"""
BY_INSTAR = "import instar\nmodel = instar.model()"
BY_HAND = """
from torch import nn
model = nn.Sequential({layers})
model.load_state_dict(torch.load('{folder}/weights.pt', weights_only=True))
model.eval()
torch.set_grad_enabled(False)
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One of the two: how its container is started, and the body of `/init` that makes it the function."""

    name: str
    body: bytes
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self, client: docker.DockerClient, image: str, environ: Mapping[str, str]) -> ImageContainer:
        options = {"labels": {LABEL: "bench"}, **self.options}
        environ = {**self.environ, **environ}
        return ImageContainer(client, image, *self.arguments, environ=environ, memory_mib=MEMORY_MIB, **options)


def ours(code: bytes, *, volumes: Volumes | None = None, **environ: str) -> Runtime:
    """Our runtime with a function, a zip or a source text."""
    return Runtime("instar", _init(code), ("--threads", "1"), {"volumes": dict(volumes or {})}, environ)


def plain(code: bytes, *, volumes: Volumes | None = None) -> Runtime:
    """The plain runtime with a function, a zip."""
    served = {str(SERVER): {"bind": "/stock/stock_like.py", "mode": "ro"}}
    options = {"entrypoint": PLAIN[:1], "volumes": {**served, **(volumes or {})}}
    return Runtime("plain", _init(code), tuple(PLAIN[1:]), options)


def both(folder: Path, layers: str, *, images: int, seed: int) -> tuple[torch.nn.Module, tuple[Runtime, Runtime]]:
    """A module of these layers, and both runtimes with a function that calls it on one of its `images`."""
    module = _packed(folder, layers, seed)
    by_instar = HANDLER.format(call=BY_INSTAR, images=images, seed=seed)
    by_hand = HANDLER.format(call=BY_HAND.format(layers=layers, folder="."), images=images, seed=seed)
    state = (folder / "weights.pt").read_bytes()
    return module, (
        ours(zipped_folder(folder / "model", "model", {"__main__.py": by_instar})),
        plain(zipped({"__main__.py": by_hand, "weights.pt": state})),
    )


def both_with_a_large_model(folder: Path, layers: str, *, seed: int) -> tuple[Runtime, Runtime]:
    """The same for weights that lie on the node, and for us in a store that an operator mounts into containers."""
    _packed(folder, layers, seed)
    store = folder / "store"
    store.mkdir()
    os.chown(store, RUNTIME_UID, RUNTIME_UID)
    by_instar = HANDLER.format(call=BY_INSTAR, images=1, seed=seed)
    by_hand = HANDLER.format(call=BY_HAND.format(layers=layers, folder="/weights"), images=1, seed=seed)
    shared = {str(folder / "model"): _bound("/model", "ro"), str(store): _bound("/var/lib/instar", "rw")}
    return (
        ours(by_instar.encode(), volumes=shared, INSTAR_MODEL="/model"),
        plain(zipped({"__main__.py": by_hand}), volumes={str(folder): _bound("/weights", "ro")}),
    )


def _packed(folder: Path, layers: str, seed: int) -> torch.nn.Module:
    """Puts the package `model` and the ordinary `weights.pt` into a folder."""
    import torch
    from torch import nn

    import instar

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    folder.mkdir(parents=True)
    module: torch.nn.Module = eval(f"nn.Sequential({layers})", {"nn": nn}).eval()  # a text of the benchmark's own
    instar.pack(module, (torch.zeros(1, 3, 64, 64),), folder / "model")
    torch.save(module.state_dict(), folder / "weights.pt")
    folder.chmod(0o755)
    return module


def _bound(place: str, mode: str) -> dict[str, str]:
    return {"bind": place, "mode": mode}


def _init(code: bytes) -> bytes:
    binary = code.startswith(b"PK")
    text = base64.b64encode(code).decode() if binary else code.decode()
    return json.dumps({"value": {"name": "act", "main": "main", "binary": binary, "code": text}}).encode()


def request(container: ImageContainer, method: str, path: str, body: bytes = b"") -> Any:
    """One request on a connection of its own; its answer, which must be a JSON object with status 200."""
    return asking.request((container.address, PORT), method, path, body)
