"""What is in a picture: one handler for every ImageNet classifier that is packed beside it.

    {"image": "<base64 of a JPEG or PNG>", "top": 5}
    -> {"classes": [{"label": "spoonbill", "index": 129, "probability": 0.93}, ...]}

The model says how large a picture it wants, so that EfficientNet-Lite0, 1 and 2 share this file.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import instar

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 50_000_000  # a small file can unfold to gigabytes; 50 megapixels are 150 MB
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is higher, and a warning at first
MARGIN = 32  # EfficientNet-Lite looks at the middle: a square of size / (size + 32) of the shorter side

CLASSES = Path(__file__).with_name("classes.txt").read_text(encoding="utf-8").splitlines()
model = instar.model()


def main(args: dict[str, Any]) -> dict[str, Any]:
    try:
        top = count(args.get("top", 5))
        picture = decode(args.get("image"))
    except ValueError as error:
        return {"error": str(error)}
    scores = model(pixels(picture, size=model.signature.inputs[0].type.shape[-1]))
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


def decode(text: object) -> Image.Image:
    """The picture in RGB, upright. Raises `ValueError` for what is not one."""
    if not isinstance(text, str) or not text:
        raise ValueError("image is missing; give the base64 text of a JPEG or PNG file")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"image is not base64: {error}") from error
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises, here and below
        raise ValueError(f"image is no {' or '.join(FORMATS)} file: its {len(data)} bytes say otherwise") from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"image has {picture.width}x{picture.height} pixels; the limit is {MAX_PIXELS} in all")
    try:
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"image is damaged: {error}") from error


def pixels(picture: Image.Image, *, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32[1, 3, size, size], cut out and scaled the way the models were trained."""
    side = int(min(picture.size) * size / (size + MARGIN))
    left, upper = (picture.width - side + 1) // 2, (picture.height - side + 1) // 2
    square = picture.resize((size, size), Image.Resampling.BICUBIC, (left, upper, left + side, upper + side))
    values = (np.asarray(square, dtype=np.float32) - 127) / 128
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])
