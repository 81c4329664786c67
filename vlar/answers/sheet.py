"""A contact sheet: the pictures of found spans with their times and scores, in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlar.answers.clock import clock
from vlar.characters import without
from vlar.types import Failure, Hit

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_WIDTH, _HEIGHT, _TEXT, _GAP = 320, 180, 44, 12  # pixels
_MOST_COLUMNS = 5
_GROUND, _EMPTY, _INK, _SOFT = "#ffffff", "#d9dee6", "#1c2330", "#5c6675"


def contact_sheet(hits: Sequence[Hit], shown: Sequence[Image | Failure]) -> Image:
    """The sheet of at least one hit.

    Args:
        hits: N found spans.
        shown: N pictures of them, or why there is none: such a place stays grey.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = min(_MOST_COLUMNS, max(1, math.ceil(math.sqrt(len(hits)))))
    rows = math.ceil(len(hits) / columns)
    cell_width, cell_height = _WIDTH + _GAP, _HEIGHT + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), _GROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for number, (hit, picture) in enumerate(zip(hits, shown, strict=True)):
        left = _GAP + number % columns * cell_width
        top = _GAP + number // columns * cell_height
        draw.rectangle((left, top, left + _WIDTH - 1, top + _HEIGHT - 1), fill=_EMPTY)
        if isinstance(picture, Failure):
            draw.text((left + 10, top + 10), "no picture", fill=_SOFT, font=small)
        else:
            _paste(sheet, picture, left, top)
        times = f"{clock(hit.start_s)} to {clock(hit.end_s)}"
        times += "" if hit.track is None else f", person {hit.track}"
        below = top + _HEIGHT + 4
        draw.text((left, below), f"{hit.rank}. {hit.score:.0%}  {times}", fill=_INK, font=large)
        draw.text((left, below + 21), _fitting(hit.path, small), fill=_SOFT, font=small)
    return sheet


def _paste(sheet: Image, picture: Image, left: int, top: int) -> None:
    fitting = picture.copy()
    fitting.thumbnail((_WIDTH, _HEIGHT))
    place = (left + (_WIDTH - fitting.width) // 2, top + (_HEIGHT - fitting.height) // 2)
    sheet.paste(fitting, place)


def _fitting(path: str, font: Any) -> str:
    """The name of a recording, cut to the width of a picture."""
    name = without(Path(path).name)
    if font.getlength(name) <= _WIDTH:
        return name
    while len(name) > 1 and font.getlength(f"{name}...") > _WIDTH:
        name = name[: len(name) - 1 - len(name) // 16]
    return f"{name}..."
