"""Small pictures of a window that a library keeps, so that another model can index it unread.

Four frames, evenly spread and shrunk, stand next to each other in one WebP picture of some
kilobytes. A model of pictures encodes them in place of the recording where that is gone or has
changed (``vlar.library.upgrade``).
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np

from vlar.library.store.annotations import KeptFrames
from vlar.types import Clip, Sampling

N_FRAMES = 4
SHORTER_SIDE = 160  # pixels
QUALITY = 50
BYTES_A_WINDOW = 8_400  # in the middle, by ``evals/results/kept_frames.json``
_MOST_BYTES = 1 << 20
_MOST_SIDE = 4096  # of the picture with all frames


def packed(clip: Clip) -> bytes:
    """A WebP picture of frames of a clip (T, H, W, 3); empty of any other clip."""
    if clip.modality != "video" or clip.data.ndim != 4 or not len(clip.data):
        return b""
    from PIL import Image

    places = (np.arange(N_FRAMES) + 0.5) * len(clip.data) / N_FRAMES
    frames = clip.data[places.astype(int)]
    height, width = frames.shape[1:3]
    factor = min(SHORTER_SIDE / min(height, width), _MOST_SIDE / (N_FRAMES * max(height, width)), 1)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = [Image.fromarray(frame).resize(size, Image.Resampling.BOX) for frame in frames]
    strip = Image.new("RGB", (N_FRAMES * size[0], size[1]))
    for index, frame in enumerate(small):
        strip.paste(frame, (index * size[0], 0))
    data = io.BytesIO()
    strip.save(data, "WEBP", quality=QUALITY)
    return data.getvalue()


def unpacked(frames: KeptFrames, like: Clip, sampling: Sampling) -> Clip | None:
    """The clip of kept frames, each repeated so that there are as many as a model wants.

    None where the picture is not one that ``packed`` makes, as in a library of anybody.

    Args:
        frames: A window and its picture.
        like: A clip of the same recording and window, without data.
        sampling: Sampling of the model.
    """
    from PIL import Image

    if len(frames.picture) > _MOST_BYTES:
        return None
    try:
        with Image.open(io.BytesIO(frames.picture), formats=["WEBP"]) as picture:
            if max(picture.size) > _MOST_SIDE or picture.size[0] % N_FRAMES:
                return None
            strip = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
    width = strip.shape[1] // N_FRAMES
    split = strip.reshape(len(strip), N_FRAMES, width, 3).swapaxes(0, 1)
    repeated = split[np.arange(sampling.n_frames) * N_FRAMES // sampling.n_frames]
    shares = (np.arange(sampling.n_frames) + 0.5) / sampling.n_frames
    times_s = like.window.start_s + like.window.duration_s * shares
    return replace(like, data=np.ascontiguousarray(repeated), times_s=times_s)
