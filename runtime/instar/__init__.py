"""Instar: PyTorch functions on Apache OpenWhisk, started warm.

`instar.pack` makes a package of a module; `instar.model`, inside an action, calls the model of a package. Both are
imported when they are first asked for: a worker needs no exporter, and the proxy needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instar.version import VERSION as __version__

__all__ = ["__version__", "model", "pack"]

if TYPE_CHECKING:
    from instar.executor.client import model
    from instar.packing import pack


def __getattr__(name: str) -> Any:
    if name == "pack":
        from instar.packing import pack

        return pack
    if name == "model":
        from instar.executor.client import model

        return model
    raise AttributeError(f"module 'instar' has no attribute {name!r}")
