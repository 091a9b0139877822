"""How close sentences are in meaning: a sentence encoder behind a tokenizer.

    {"texts": ["A cat sleeps.", "The kitten is napping."]}
    -> {"vectors": [[384 numbers], ...], "similarities": [[1.0, 0.7], [0.7, 1.0]]}

Vectors have length one, and a similarity is their cosine. A text longer than the encoder was trained for is cut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import instar

MAX_TEXTS = 64  # the batch that the package allows
MAX_CHARACTERS = 100_000  # of one text, so that cutting it to LONGEST tokens stays cheap
LONGEST = 256  # tokens

tokenizer = Tokenizer.from_file(str(Path(__file__).with_name("tokenizer.json")))
tokenizer.enable_truncation(LONGEST)
tokenizer.enable_padding()  # to the longest text of the request
model = instar.model()


def main(args: dict[str, Any]) -> dict[str, Any]:
    try:
        texts = checked(args.get("texts"))
    except ValueError as error:
        return {"error": str(error)}
    encodings = tokenizer.encode_batch(texts)
    vectors = model(
        input_ids=np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        attention_mask=np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
    )
    return {"vectors": vectors.tolist(), "similarities": (vectors @ vectors.T).tolist()}


def checked(texts: object) -> list[str]:
    """The texts of a request. Raises `ValueError` where they are none."""
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_TEXTS:
        raise ValueError(f"texts must be a list of 1 to {MAX_TEXTS} strings")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{position}] is {type(text).__name__}; give a string")
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"texts[{position}] has {len(text)} characters; the limit is {MAX_CHARACTERS}")
        if any("\ud800" <= character <= "\udfff" for character in text):  # JSON can name them, a tokenizer cannot
            raise ValueError(f"texts[{position}] holds half of a surrogate pair; give valid Unicode")
    return texts
