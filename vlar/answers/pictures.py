"""The picture of each found span: the one on screen in its middle.

Where the span shows one person, it is the middle of the best window, with their box drawn in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.sensors import reader
from vlar.sensors.isolated import isolated
from vlar.types import Failure, Hit, Sampling, Window
from vlar.video.thumbnails import WIDTH, narrowed

if TYPE_CHECKING:
    from PIL.Image import Image


_DARK, _LIGHT = "#000000", "#ffd21f"


def pictures(hits: Sequence[Hit], width: int = WIDTH) -> Iterator[Image | Failure]:
    """A picture of each hit, at most ``width`` pixels wide, decoded in worker processes.

    Yields:
        In the order of the hits, a picture or why there is none; a recording that has moved ends
        nothing.
    """
    present = [hit for hit in hits if Path(hit.path).exists()]
    with isolated(reader("video"), present, _path) as (source, items):
        read = source.read(
            ((_path(hit), _middle(hit)) for hit in items), Sampling(1, shorter_side=width)
        )
        for hit in hits:
            if hit not in present:
                yield moved(hit)
                continue
            clip = next(read)
            yield clip if isinstance(clip, Failure) else _drawn(narrowed(clip.data[0], width), hit)


def shown_s(hit: Hit) -> float:
    """The moment of the picture, in seconds."""
    return (hit.start_s + hit.end_s) / 2 if hit.box_s is None else hit.box_s


def _drawn(picture: Image, hit: Hit) -> Image:
    """The picture with the box of its person, light on dark, so that it shows on any ground."""
    if hit.box is None:
        return picture
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    sides = (picture.width, picture.height, picture.width, picture.height)
    corners = [share * (side - 1) for share, side in zip(hit.box, sides, strict=True)]
    thick = max(2, round(picture.width / 160))
    draw.rectangle(corners, outline=_DARK, width=thick + 2)
    inner = [corners[0] + 1, corners[1] + 1, corners[2] - 1, corners[3] - 1]
    if inner[0] < inner[2] and inner[1] < inner[3]:
        draw.rectangle(inner, outline=_LIGHT, width=thick)
    return picture


def moved(hit: Hit) -> Failure:
    """The failure of a hit whose recording is not where the library says."""
    message = (
        f"{hit.path}: the recording is not there any more; add it where it is now with 'vlar index "
        "add', which recognises it"
    )
    return Failure(Path(hit.path), "moved", message)


def _path(hit: Hit) -> Path:
    return Path(hit.path)


def _middle(hit: Hit) -> Window:
    return Window(shown_s(hit), shown_s(hit))
