"""A picture becomes the pixels that the models were trained on, and whatever is no picture gets a clear error."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from actions.classify.picture import MAX_PIXELS, decode, pixels
from PIL import Image


def text(picture: Image.Image, form: str = "PNG", **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)  # type: ignore[arg-type]
    return base64.b64encode(buffer.getvalue()).decode()


def test_only_the_middle_of_a_picture_is_looked_at() -> None:
    # 256 of the shorter side become 224: a red middle square of that size fills all that is looked at.
    picture = Image.new("RGB", (400, 256), "black")
    picture.paste((255, 0, 0), (88, 16, 88 + 224, 16 + 224))
    values = pixels(picture, size=224)
    assert values.shape == (1, 3, 224, 224)
    assert values.dtype == np.float32
    assert np.unique(values[0, 0]).tolist() == [1.0]  # (255 - 127) / 128
    assert np.unique(values[0, 1:]).tolist() == [-127 / 128]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_kind_of_colour_becomes_rgb(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert decode(text(Image.new(mode, (8, 8)), form)).mode == "RGB"


def test_a_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    assert decode(text(Image.new("RGB", (20, 10)), "JPEG", exif=exif)).size == (10, 20)


@pytest.mark.parametrize("image", [None, "", 7, ["x"], {}])
def test_a_request_without_an_image_says_what_to_give(image: object) -> None:
    with pytest.raises(ValueError, match="image is missing; give the base64 text"):
        decode(image)


@pytest.mark.parametrize("image", ["not base64!", "ä", "YWJ"])
def test_text_that_is_not_base64_is_refused(image: str) -> None:
    with pytest.raises(ValueError, match="image is not base64"):
        decode(image)


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no JPEG or PNG file: its 5 bytes"):
        decode(base64.b64encode(b"hello").decode())


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="no JPEG or PNG"):
        decode(text(Image.new("RGB", (8, 8)), "GIF"))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_picture_that_was_cut_short_is_refused(form: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = base64.b64decode(text(noise, form))
    with pytest.raises(ValueError, match="image is damaged"):
        decode(base64.b64encode(data[: len(data) // 2]).decode())


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    side = 60_000  # 60000 x 60000 pixels would be 10 GB; the file has a hundred bytes
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ValueError, match=f"60000x60000 pixels; the limit is {MAX_PIXELS}"):
        decode(base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + empty).decode())
