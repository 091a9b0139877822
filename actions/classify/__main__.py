"""What is in a picture: one handler for EfficientNet-Lite0, 1 and 2, whichever is packed beside it.

{"image": "<base64 of a JPEG or PNG>", "top": 5}
-> {"classes": [{"label": "spoonbill", "index": 129, "probability": 0.93}, ...]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from picture import decode, pixels

import instar

SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}  # what each was trained for, in pixels
CLASSES = Path(__file__).with_name("classes.txt").read_text(encoding="utf-8").splitlines()

model = instar.model()  # its name is the name of the folder that `instar pack` wrote


def main(args: dict[str, Any]) -> dict[str, Any]:
    try:
        top = count(args.get("top", 5))
        picture = decode(args.get("image"))
    except ValueError as error:
        return {"error": str(error)}
    scores = model(pixels(picture, size=SIZES[model.name]))
    probabilities, indices = scores.softmax(dim=1)[0].topk(top)
    return {
        "classes": [
            {"label": CLASSES[index], "index": index, "probability": probability}
            for probability, index in zip(probabilities.tolist(), indices.tolist(), strict=True)
        ]
    }


def count(top: object) -> int:
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= len(CLASSES):
        raise ValueError(f"top is {top!r}; give a whole number from 1 to {len(CLASSES)}")
    return top
