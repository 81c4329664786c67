"""The picture of each found span: the one on screen in its middle."""

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
            yield clip if isinstance(clip, Failure) else narrowed(clip.data[0], width)


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
    middle_s = (hit.start_s + hit.end_s) / 2
    return Window(middle_s, middle_s)
