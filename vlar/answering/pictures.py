"""The frames of a clip as a few pictures, for models that look at pictures."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from vlar.describing.base import NoAnswerError
from vlar.errors import UsageError
from vlar.types import Clip
from vlar.video.thumbnails import jpeg, narrowed

if TYPE_CHECKING:
    from PIL.Image import Image

N_PICTURES = 8
WIDTH = 512
_MOST_PICTURES = 64


def pictures(clip: Clip, n: int = N_PICTURES, width: int = WIDTH) -> list[Image]:
    """At most ``n`` frames of a clip, evenly spread, as RGB pictures of at most ``width`` pixels.

    Raises:
        NoAnswerError: the clip holds no pictures.
    """
    data = np.asarray(clip.data)
    if data.ndim != 4 or data.shape[-1] != 3 or data.dtype != np.uint8 or not len(data):
        raise NoAnswerError(
            f"{clip.path}: an answerer that looks at pictures cannot read the sensor "
            f"{clip.modality!r}; use self:MODEL"
        )
    middle = (np.arange(n) + 0.5) * len(data) / n
    rows = np.unique(np.minimum(middle.astype(np.intp), len(data) - 1))
    return [narrowed(np.ascontiguousarray(data[row]), width) for row in rows]


def data_url(picture: Image) -> str:
    """A picture as a ``data:`` address, which holds the picture itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture)).decode('ascii')}"


def picture_count(text: str | None) -> int:
    """How many pictures an option ``frames=N`` asks for.

    Raises:
        UsageError: it is not 1 to 64.
    """
    if text is None:
        return N_PICTURES
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_PICTURES:
        raise UsageError(f"frames={text!r} cannot be used; give 1 to {_MOST_PICTURES} pictures")
    return int(text)
