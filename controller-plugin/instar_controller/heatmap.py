"""A matrix of plans as a picture: a row a source, a column a target, a colour by what a plan saves of a load."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from instar.plan.plans import LoadInstead
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.matrix import Matrix

TEXT, LINE = 12, 18  # pixels
CELL_WITH_NUMBER, CELL, SMALL_CELL = 54, 24, 6
MANY, VERY_MANY = 16, 60  # models, from which on cells are smaller; very many have no names
MARGIN = 12
MAX_NAME = 36  # characters

BLACK, WHITE, GREY, PALE = (20, 20, 20), (255, 255, 255), (205, 205, 205), (240, 240, 240)
SAVES_ALL, SAVES_NOTHING = (27, 120, 90), (226, 240, 220)


def png(matrix: Matrix) -> bytes:
    """The picture, as a file's bytes."""
    models = matrix.models
    count = len(models)
    cell = CELL_WITH_NUMBER if count < MANY else CELL if count < VERY_MANY else SMALL_CELL
    font = ImageFont.load_default(TEXT)
    names = [_short(model.name) for model in models] if count < VERY_MANY else []
    room = MARGIN + round(max((font.getlength(name) for name in names), default=0))
    title = f"ms to transform a row's model into a column's, estimated for {matrix.device}"
    legend = "green: how much of a load a plan saves   grey: loaded instead, in (ms)   pale: not planned yet"
    left, top = MARGIN + room, 3 * MARGIN + LINE + room
    width = max(left + cell * count, MARGIN + round(max(font.getlength(title), font.getlength(legend)))) + MARGIN
    image = Image.new("RGB", (width, top + cell * count + MARGIN + LINE + MARGIN), WHITE)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), title, BLACK, font)
    draw.text((MARGIN, top + cell * count + MARGIN), legend, BLACK, font)
    for number, name in enumerate(names):
        middle = cell * number + (cell - LINE) // 2
        draw.text((MARGIN, top + middle), name, BLACK, font)
        upright = Image.new("RGB", (room, LINE), WHITE)
        ImageDraw.Draw(upright).text((0, 0), name, BLACK, font)
        image.paste(upright.rotate(90, expand=True), (left + middle, top - room - MARGIN // 2))
    for row, source in enumerate(models):
        for column, target in enumerate(models):
            answer = matrix.answer(source, target)
            at = left + cell * column, top + cell * row
            draw.rectangle((*at, at[0] + cell - 2, at[1] + cell - 2), _colour(answer))
            if cell == CELL_WITH_NUMBER:
                draw.text((at[0] + 5, at[1] + (cell - LINE) // 2), _label(answer), BLACK, font)
    packed = io.BytesIO()
    image.save(packed, "PNG")
    return packed.getvalue()


def _label(answer: Answer | None) -> str:
    match answer:
        case KeptPlan(_, estimate):
            return f"{estimate.transform_ns / 1e6:.2f}"
        case LoadInstead():
            return f"({answer.estimate.load_ns / 1e6:.2f})"
        case None:
            return ""


def _colour(answer: Answer | None) -> tuple[int, int, int]:
    match answer:
        case KeptPlan(_, estimate):  # which saves something, so its load takes more than no time
            share = estimate.transform_ns / estimate.load_ns
        case LoadInstead():
            return GREY
        case None:
            return PALE
    red, green, blue = (
        round(none * share + most * (1 - share)) for none, most in zip(SAVES_NOTHING, SAVES_ALL, strict=True)
    )
    return red, green, blue


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
