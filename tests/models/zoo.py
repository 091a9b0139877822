"""The models that stand for all models: one small member of every family that we can get from a package index.

Random weights, the same ones for the same name, and no two tensors alike: a network whose normalisation layers all
still hold ones and zeros would not notice that two of them were mixed up.

`IMGCLSMOB` has every family of pytorchcv that `torch.export` can trace with a dynamic batch. `REFUSED` has those it
cannot, with the reason; `LARGE` are the nine that the loading benchmark measures.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch

BATCH = (1, 16)  # the sizes that the batch may have in every package
TOKENS = (2, 128)

Dims = dict[str, dict[int, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model: how to build it, what to call it with, and which dimensions may change. Told apart by identity."""

    name: str
    build: Callable[[], torch.nn.Module]  # an unseeded module; use `module()` for the real thing
    example: Callable[[int], dict[str, torch.Tensor]]  # batch -> inputs by name
    dims: Dims
    bounds: dict[str, tuple[int, int]]

    def module(self) -> torch.nn.Module:
        """The module in evaluation mode, with weights that depend on nothing but the model's name."""
        torch.manual_seed(zlib.crc32(self.name.encode()))
        with new_memory_is_nan():
            module = self.build().eval()
        unlike(module)
        return module

    def inputs(self, batch: int) -> dict[str, torch.Tensor]:
        """Inputs that depend on nothing but the model's name and the batch."""
        torch.manual_seed(zlib.crc32(self.name.encode()) + batch)
        return self.example(batch)


@contextmanager
def new_memory_is_nan() -> Iterator[None]:
    """Have torch fill what it allocates: else a tensor that nobody initialises holds whatever memory held before."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def unlike(module: torch.nn.Module) -> None:
    """Change every weight and running statistic a little, so that no two tensors of a module are equal.

    Scales stay near what they were, and variances above zero, so that deep networks neither fade nor overflow.
    """
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                if tensor.isnan().any():  # the module leaves it as memory was (nvpattexp's `decoder.weight`)
                    tensor.normal_(std=0.02)
                if not tensor.any():
                    tensor.normal_(std=1e-3)
                tensor.mul_(1 + 0.05 * (torch.rand(tensor.shape) - 0.5))


def vision(name: str, *size: int, channels: int = 3, **kwargs: Any) -> Model:
    """A pytorchcv model for pictures of this height and width."""

    def build() -> torch.nn.Module:
        from pytorchcv.model_provider import get_model  # late: takes a second

        with mock.patch.object(np, "int", int, create=True):  # pytorchcv says np.int, which numpy dropped
            return get_model(name, pretrained=False, **kwargs)  # type: ignore[no-any-return]

    def example(batch: int) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(batch, channels, *size)}

    return Model(name, build, example, {"x": {0: "batch"}}, {"batch": BATCH})


def speech(name: str, *shape: int) -> Model:
    """A pytorchcv model that animates a face: windows of audio features and the number of a person."""

    def example(batch: int) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(batch, *shape), "pid": torch.randint(0, 8, (batch,))}

    return Model(name, vision(name).build, example, {"x": {0: "batch"}, "pid": {0: "batch"}}, {"batch": BATCH})


class LastState(torch.nn.Module):
    """A transformers model for token ids that answers with its last hidden states only."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        outputs = self.body(input_ids=input_ids, attention_mask=attention_mask)
        return outputs.last_hidden_state  # type: ignore[no-any-return]


class Pixels(torch.nn.Module):
    """A transformers model for pictures that answers with its scores only."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.body(pixel_values=pixel_values).logits  # type: ignore[no-any-return]


def text(name: str, build: Callable[[], torch.nn.Module], *, vocabulary: int = 1000, tokens: int = 11) -> Model:
    """A model for token ids with both dimensions dynamic; the second text of a batch is padded."""

    def example(batch: int) -> dict[str, torch.Tensor]:
        mask = torch.ones(batch, tokens, dtype=torch.int64)
        mask[1:2, tokens // 2 :] = 0
        return {"input_ids": torch.randint(0, vocabulary, (batch, tokens)), "attention_mask": mask}

    axes = {0: "batch", 1: "tokens"}
    return Model(
        name, build, example, {"input_ids": axes, "attention_mask": axes}, {"batch": BATCH, "tokens": TOKENS}
    )


def bert(**config: Any) -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    return LastState(BertModel(BertConfig(**config), add_pooling_layer=False))


def small_bert() -> torch.nn.Module:
    return bert(vocab_size=1000, hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192)


def small_gpt2() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2Model

    return LastState(GPT2Model(GPT2Config(vocab_size=1000, n_embd=96, n_layer=2, n_head=4, use_cache=False)))


def small_vit() -> torch.nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        image_size=64,
    )
    return Pixels(ViTForImageClassification(config))


def lite(variant: str) -> Model:
    def build() -> torch.nn.Module:
        from actions.classify import model

        return getattr(model, variant)()  # type: ignore[no-any-return]

    size = {"lite0": 224, "lite1": 240, "lite2": 260}[variant]

    def example(batch: int) -> dict[str, torch.Tensor]:
        return {"inputs": torch.randn(batch, 3, size, size)}

    return Model(f"efficientnet-{variant}", build, example, {"inputs": {0: "batch"}}, {"batch": BATCH})


def minilm() -> torch.nn.Module:
    from actions.embed import model

    return model.minilm()


ACTIONS = [lite("lite0"), lite("lite1"), lite("lite2"), text("minilm-l6", minilm, vocabulary=30000)]

TRANSFORMERS = [
    text("bert", small_bert),
    text("gpt2", small_gpt2),
    Model(
        "vit",
        small_vit,
        lambda batch: {"pixel_values": torch.randn(batch, 3, 64, 64)},
        {"pixel_values": {0: "batch"}},
        {"batch": BATCH},
    ),
]

# Families in the order of pytorchcv's files. Segmentation networks take smaller pictures than they were made for.
IMGCLSMOB = [
    vision("airnet50_1x64d_r16", 224, 224),
    vision("airnext50_32x4d_r2", 224, 224),
    vision("alexnetb", 224, 224),
    vision("bagnet9", 224, 224),
    vision("bam_resnet18", 224, 224),
    vision("bisenet_resnet18_celebamaskhq", 640, 480),
    vision("bninception", 224, 224),
    vision("cbam_resnet18", 224, 224),
    vision("centernet_resnet18_voc", 256, 256, in_size=(256, 256)),
    vision("cgnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("channelnet", 224, 224),
    vision("condensenet74_c8_g8", 224, 224),
    vision("ctxnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("dabnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("danet_resnetd50b_cityscapes", 240, 240, in_size=(240, 240)),
    vision("darknet_tiny", 224, 224),
    vision("darknet53", 224, 224),
    vision("darts", 224, 224),
    vision("deeplabv3_resnetd50b_cityscapes", 240, 240, in_size=(240, 240)),
    vision("densenet121", 224, 224),
    vision("densenet40_k12_bc_cifar10", 32, 32),
    vision("diapreresnet10", 224, 224),
    vision("diapreresnet20_cifar10", 32, 32),
    vision("diaresnet10", 224, 224),
    vision("diaresnet20_cifar10", 32, 32),
    vision("dicenet_wd5", 224, 224),
    vision("diracnet18v2", 224, 224),
    vision("dla46xc", 224, 224),
    vision("dpn68", 224, 224),
    vision("drnd22", 224, 224),
    vision("edanet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("efficientnet_b0", 224, 224),
    vision("efficientnet_edge_small_b", 224, 224),
    vision("enet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("erfnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("esnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("espnetv2_wd2", 224, 224),
    vision("fastscnn_cityscapes", 512, 512, in_size=(512, 512)),
    vision("fastseresnet101b", 224, 224),
    vision("fbnet_cb", 224, 224),
    vision("fcn8sd_resnetd50b_cityscapes", 240, 240, in_size=(240, 240)),
    vision("fdmobilenet_wd4", 224, 224),
    vision("fishnet99", 224, 224),
    vision("fpenet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("ghostnet", 224, 224),
    vision("hardnet39ds", 224, 224),
    vision("hrnet_w18_small_v1", 224, 224),
    vision("ibnb_resnet50", 224, 224),
    vision("ibn_densenet121", 224, 224),
    vision("ibn_resnet50", 224, 224),
    vision("ibn_resnext50_32x4d", 224, 224),
    vision("ibppose_coco", 256, 256),
    vision("icnet_resnetd50b_cityscapes", 480, 480),
    vision("igcv3_wd4", 224, 224),
    vision("inceptionresnetv1", 299, 299),
    vision("inceptionresnetv2", 299, 299),
    vision("inceptionv3", 299, 299),
    vision("inceptionv4", 299, 299),
    vision("irevnet301", 224, 224),
    vision("isqrtcovresnet18", 224, 224),
    vision("lednet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("lffd20x5s320v2_widerface", 320, 320, in_size=(320, 320)),
    vision("lwopenpose2d_mobilenet_cmupan_coco", 368, 368),
    vision("menet108_8x1_g3", 224, 224),
    vision("mixnet_s", 224, 224),
    vision("mnasnet_small", 224, 224),
    vision("mobilenet_wd4", 224, 224),
    vision("fdmobilenet_wd4_cub", 224, 224),
    vision("mobilenetb_wd4", 224, 224),
    vision("mobilenetv2b_wd4", 224, 224),
    vision("mobilenetv3_small_w7d20", 224, 224),
    vision("msdnet22", 224, 224),
    vision("msdnet22_cifar10", 32, 32),
    vision("nasnet_4a1056", 224, 224),
    vision("nin_cifar10", 32, 32),
    speech("nvpattexp116bazel76", 8, 16, 29),
    vision("octresnet10_ad2", 224, 224),
    vision("peleenet", 224, 224),
    vision("pfpcnet", 320, 240, channels=1),
    vision("pnasnet5large", 331, 331),
    vision("polynet", 331, 331),
    vision("preresnet18_wd4", 224, 224),
    vision("preresnet20_cifar10", 32, 32),
    vision("prnet", 256, 256),
    vision("proxylessnas_mobile", 224, 224),
    vision("proxylessnas_mobile_cub", 224, 224),
    vision("pspnet_resnetd50b_cityscapes", 240, 240, in_size=(240, 240)),
    vision("pyramidnet101_a360", 224, 224),
    vision("pyramidnet110_a48_cifar10", 32, 32),
    vision("regnetx002", 224, 224),
    vision("resattnet56", 224, 224),
    vision("resdropresnet20_cifar10", 32, 32),
    vision("resnestabc14", 224, 224),
    vision("resnet18_wd4", 224, 224),
    vision("resnet20_cifar10", 32, 32),
    vision("resnet10_cub", 224, 224),
    vision("resneta10", 224, 224),
    vision("resnetd50b", 224, 224),
    vision("resnext14_32x2d", 224, 224),
    vision("resnext20_32x2d_cifar10", 32, 32),
    vision("rir_cifar10", 32, 32),
    vision("ror3_56_cifar10", 32, 32),
    vision("scnet50", 224, 224),
    vision("segnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("selecsls42", 224, 224),
    vision("senet16", 224, 224),
    vision("sepreresnet10", 224, 224),
    vision("sepreresnet20_cifar10", 32, 32),
    vision("seresnet10", 224, 224),
    vision("seresnet20_cifar10", 32, 32),
    vision("seresnet10_cub", 224, 224),
    vision("seresnext50_32x4d", 224, 224),
    vision("shakedropresnet20_cifar10", 32, 32),
    vision("shakeshakeresnet20_2x16d_cifar10", 32, 32),
    vision("sharesnet18", 224, 224),
    vision("shufflenet_g1_wd4", 224, 224),
    vision("shufflenetv2_wd2", 224, 224),
    vision("shufflenetv2b_wd2", 224, 224),
    vision("sinet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("sknet50", 224, 224),
    vision("sparsenet121", 224, 224),
    vision("spnasnet", 224, 224),
    vision("sqnet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("squeezenet_v1_1", 224, 224),
    vision("sqnxt23_w1", 224, 224),
    vision("unet_cityscapes", 128, 256, in_size=(128, 256)),
    vision("vgg11", 224, 224),
    speech("voca8flame", 1, 16, 29),
    vision("vovnet27s", 224, 224),
    vision("wrn50_2", 224, 224),
    vision("wrn20_10_1bit_cifar10", 32, 32),
    vision("wrn16_10_cifar10", 32, 32),
    vision("xception", 299, 299),
    vision("xdensenet121_2", 224, 224),
    vision("xdensenet40_2_k24_bc_cifar10", 32, 32),
    vision("zfnet", 224, 224),
]

# Families that torch.export cannot trace with a dynamic batch, and what in their code stands in the way.
REFUSED = {
    vision("alphapose_fastseresnet101b_coco", 256, 192): "branches on the values of heat maps",
    vision("simplepose_resnet18_coco", 256, 192): "branches on the values of heat maps",
    vision("simplepose_mobile_mobilenetv3_small_w1_coco", 256, 192): "branches on the values of heat maps",
    vision("superpointnet", 64, 96, channels=1): "loops over as many points as it finds",
    vision("fractalnet_cifar10", 32, 32): "computes with the batch size what depends on it in steps",
    vision("revnet38", 224, 224): "has an autograd function of its own",
}
# Not here at all: jasper, jasperdr and quartznet import librosa; linknet and ntsnet fail while they are built.

# What stays when seconds count: each of these brings operators or a shape of graph that the others lack.
FAST = [
    "efficientnet-lite0",
    "bert",
    "gpt2",
    "vit",
    "resnet20_cifar10",
    "densenet40_k12_bc_cifar10",
    "shufflenetv2_wd2",
    "squeezenet_v1_1",
    "mobilenetb_wd4",
    "shakeshakeresnet20_2x16d_cifar10",
    "nvpattexp116bazel76",
    "ctxnet_cityscapes",
    "nin_cifar10",
]

ALL = [*ACTIONS, *TRANSFORMERS, *IMGCLSMOB]

LARGE = [
    vision("mobilenetv2_w1", 224, 224),
    vision("efficientnet_b0", 224, 224),
    vision("densenet121", 224, 224),
    vision("resnet18", 224, 224),
    vision("densenet201", 224, 224),
    vision("resnet50", 224, 224),
    vision("resnet152", 224, 224),
    text("bert-base", bert, vocabulary=30000, tokens=64),
    vision("vgg16", 224, 224),
]
