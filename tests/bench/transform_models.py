"""Which models the benchmark of transformations turns into each other, and who is kin to whom.

The nine of the loading benchmark, each into its sibling of equal structure and all into each other; what their
families have beside them; and many small ones for which only the answers count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tests.bench.transform_figures import ACROSS, SAME, kinship
from tests.models import zoo
from tests.transform import families

SIBLING = " sibling"  # of a model's name: the same structure, other weights


def medium_bert() -> torch.nn.Module:
    return zoo.bert(hidden_size=512, num_hidden_layers=8, num_attention_heads=8, intermediate_size=2048)


LARGE = {model.name: model for model in zoo.LARGE}
FURTHER = {
    model.name: model
    for model in (
        zoo.vision("resnet101", 224, 224),
        zoo.vision("vgg19", 224, 224),
        zoo.text("bert-medium", medium_bert, vocabulary=30000, tokens=64),
    )
}
MODELS = LARGE | FURTHER
FAMILIES = (
    frozenset({"resnet18", "resnet50", "resnet101", "resnet152"}),
    frozenset({"densenet121", "densenet201"}),
    frozenset({"vgg16", "vgg19"}),
    frozenset({"bert-medium", "bert-base"}),
)
SMALL = {model.name: model for model in families.ALL}
QUICK = ("mobilenetv2_w1", "resnet18", "resnet50")
QUICK_SMALL = ("residual", "residual-deep", "mobile", "dense", "patches", "encoder", "encoder-tied", "several")


def sibling(model: zoo.Model) -> zoo.Model:
    """The same model with other weights."""
    return replace(model, name=model.name + SIBLING)


@dataclass(frozen=True, slots=True)
class Selection:
    """What one run looks at: models by name."""

    timed: tuple[str, ...]
    small: tuple[str, ...]

    def sources(self, target: str) -> list[tuple[str, str]]:
        """Each model that is timed becoming the target, and its kinship."""
        own = [(target + SIBLING, SAME)] if target in LARGE else []
        others = [(name, kinship(name, target, FAMILIES)) for name in self.timed if name != target]
        # What families have beside the nine is measured within the family alone.
        return own + [(name, kind) for name, kind in others if kind != ACROSS or (name in LARGE and target in LARGE)]

    def models(self) -> list[zoo.Model]:
        """All that have to be packed."""
        timed = [MODELS[name] for name in self.timed]
        siblings = [sibling(LARGE[name]) for name in self.timed if name in LARGE]
        return [*timed, *siblings, *(SMALL[name] for name in self.small)]


ALL = Selection(tuple(MODELS), tuple(SMALL))
FEW = Selection(QUICK, QUICK_SMALL)
