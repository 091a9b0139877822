"""From the bytes of a picture to the pixels that an EfficientNet-Lite was trained on.

Whatever is no picture, or too large a one, is a `ValueError` whose text is meant for the caller.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG")
MAX_PIXELS = 50_000_000  # a small file can unfold to gigabytes; 50 megapixels are 150 MB
MARGIN = 32  # the models look at the middle: a square of size / (size + 32) of the shorter side

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is higher, and a warning at first


def decode(text: object) -> Image.Image:
    """The picture that a base64 text holds, in RGB and upright."""
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
    middle = picture.crop((left, upper, left + side, upper + side))
    square = middle.resize((size, size), Image.Resampling.BICUBIC)
    values = (np.asarray(square, dtype=np.float32) - 127) / 128
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])
