"""Records of windows that a library keeps, so that another model answers without their files.

A record is one WebP picture of four frames, evenly spread and shrunk. Behind it may stand tracks of
bodies and class probabilities, each after four letters and its length: readers of the picture
end before them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.library.store.annotations import KeptFrames
from vlar.pose.features import KEPT_BODIES
from vlar.types import Clip, Encoded, Float32, Sampling

if TYPE_CHECKING:
    from vlar.encoders.base import Encoder
    from vlar.pose.features import PoseStream

N_FRAMES = 4
SHORTER_SIDE = 160  # pixels
QUALITY = 50
BYTES_A_WINDOW = 8_400  # in the middle, by ``evals/results/kept_frames.json``
_MOST_BYTES = 1 << 20
_MOST_SIDE = 4096  # of the picture with all frames
KEPT_KINDS = ("none", "frames", "records")
BODIES_BYTES = 4_200  # of bodies and classes, in the middle, by evals/results/kept_records.json
FEWEST_FRAMES = 16  # of a window, from which bodies are followed
_BODIES, _SCORES = b"BODY", b"CLAS"
_PART = struct.Struct("<4sI")


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


class RecordPacker:
    """Packs the windows of recordings, in the order of time.

    Args:
        keep: ``frames`` or ``records``; ``none`` packs nothing.
        encoder: Encoder of the library's model; bodies and scores of its features are used.

    Attributes:
        wants_features: Whether ``packed`` needs the features of a window.
    """

    def __init__(self, keep: str, encoder: Encoder | None) -> None:
        self._keep, self._encoder = keep, encoder
        self._columns: dict[str, slice] = {}
        start = 0
        for block in getattr(encoder, "frame_blocks", ()) if keep == "records" else ():
            self._columns.setdefault(block.kind, slice(start, start + block.width))
            start += block.width
        self.wants_features = bool({"pose", "logits"} & set(self._columns))
        self._bodies: PoseStream | None = None
        self._path: Path | None = None

    def packed(self, clip: Clip, row: Encoded) -> bytes:
        """The record of a window; empty where none is kept."""
        record = b"" if self._keep == "none" else packed(clip)
        if self._keep != "records" or not record:
            return record
        from vlar.pose.packing import pack_bodies, pack_scores

        pose = self._columns.get("pose")
        bodies = self._tracked(clip) if pose is None else row.features[:, pose]
        parts = {_BODIES: pack_bodies(bodies)}
        scores = self._columns.get("logits")
        if self._encoder is not None and self._encoder.scores_made_by and scores is not None:
            made_by = self._encoder.scores_made_by
            parts[_SCORES] = pack_scores(row.features[:, scores], made_by)
        return record + b"".join(_PART.pack(k, len(v)) + v for k, v in parts.items() if v)

    def _tracked(self, clip: Clip) -> Float32:
        from vlar.pose.features import PoseExtractor

        if self._bodies is None or clip.path != self._path:
            self._bodies, self._path = PoseExtractor().stream(), clip.path
        return self._bodies.features(clip.data, clip.times_s)


def clip_of(frames: KeptFrames, like: Clip, sampling: Sampling) -> Clip | None:
    """The clip of a record; None where it is not one, as in a library of anybody.

    Its facts hold the bodies and scores that were kept.

    Args:
        frames: A window and its record.
        like: A clip of the same recording and window, without data.
        sampling: Sampling of the model.
    """
    record = frames.picture
    size = 8 + int.from_bytes(record[4:8], "little")
    clip = unpacked(frames._replace(picture=record[:size]), like, sampling)
    if clip is None or len(record) > _MOST_BYTES or size >= len(record):
        return clip
    from vlar.pose.packing import KEPT_SCORES, unpack_bodies, unpack_scores

    facts, place = dict[str, Any](), size
    while place + _PART.size <= len(record):
        kind, length = _PART.unpack_from(record, place)
        content = record[place + _PART.size :][:length]
        place += _PART.size + length
        if kind == _BODIES and (bodies := unpack_bodies(content)) is not None:
            facts[KEPT_BODIES] = bodies
        elif kind == _SCORES and (scores := unpack_scores(content)) is not None:
            facts[KEPT_SCORES] = scores
    return replace(clip, meta={**clip.meta, **facts})


def needed_by(encoder: Encoder, names: Sequence[str]) -> frozenset[str]:
    """Inputs of blocks; pictures, where an encoder of anybody declares none."""
    inputs = getattr(encoder, "inputs", None)
    return frozenset({"pictures"}) if inputs is None else inputs(names)


def inputs_of(clip: Clip) -> set[str]:
    """Inputs of models that the clip of a record has (``Encoder.inputs``)."""
    return {"pictures", "bodies"} if KEPT_BODIES in clip.meta else {"pictures"}
