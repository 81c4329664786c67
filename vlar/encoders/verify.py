"""Does a model answer as it did? It embeds a clip and a sentence, and compares with stored vectors.

The clip is drawn by a formula: a bright square crosses a ramp. It holds no body, so the motion
block of ``lite`` is checked by the sentence only. The vectors of ``lite`` come with the package.
Those of another model are kept when it is fetched: they show later changes, not that the first were
right.
"""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.base import Encoder
from vlar.errors import ModelError
from vlar.numeric import unit
from vlar.resources import cache_dir
from vlar.safety.files import MB, read_file
from vlar.safety.strict_json import parse_json
from vlar.types import Clip, Float32, UInt8, Window

SENTENCE = "a person rides a bicycle and waves one hand"
LEAST_COSINE = 0.999
_FILE = "verified.json"
_SIDE, _SQUARE = 64, 20


def clip_frames(n_frames: int) -> UInt8:
    """The clip: (T, 64, 64, 3) uint8, the same on every machine.

    >>> int(clip_frames(4).sum())
    5054064
    """
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    ramp = np.stack([rows * 2, columns * 3, (rows + columns) * 2], axis=-1).astype(np.uint8)
    frames = np.repeat(ramp[None], n_frames, axis=0)
    for number, frame in enumerate(frames):
        left = number * (_SIDE - _SQUARE) // max(1, n_frames - 1)
        frame[_SQUARE : 2 * _SQUARE, left : left + _SQUARE] = (250, 220, 60)
    return frames


def embedded(encoder: Encoder) -> dict[str, Float32]:
    """The vectors of the clip and of the sentence, by name."""
    times_s = np.arange(encoder.n_frames) / 8
    window = Window(0.0, float(times_s[-1]) + 0.125)
    clip = Clip(Path("square"), window, "video", clip_frames(encoder.n_frames), times_s)
    (seen,) = encoder.encode([clip])
    return {"clip": seen.vector, "sentence": encoder.encode_text([SENTENCE])[0]}


def stored(encoder: Encoder) -> dict[str, Float32] | None:
    """The vectors that were stored for a model and its blocks; None for a model never stored."""
    found = _packaged().get(_key(encoder)) or _kept().get(_key(encoder))
    if found is None:
        return None
    try:
        return {name: _decoded(found[name]) for name in ("clip", "sentence")}
    except (KeyError, TypeError, ValueError):
        return None


def row(encoder: Encoder) -> tuple[str, dict[str, str]]:
    """The key and the vectors of a model, as they are stored."""
    return _key(encoder), {name: _encoded(vector) for name, vector in embedded(encoder).items()}


def keep(encoder: Encoder) -> None:
    """Store the vectors of a model that was just fetched.

    Raises:
        ModelError: the cache cannot be written.
    """
    key, vectors = row(encoder)
    place = cache_dir()
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / _FILE).write_text(json.dumps({**_kept(), key: vectors}), "utf-8")
    except OSError as error:
        raise ModelError(f"cannot write to {str(place)!r} ({error.strerror})") from error


def compare(encoder: Encoder) -> float | None:
    """The least cosine of the vectors to those stored; None where none are.

    Raises:
        ModelError: it is below ``LEAST_COSINE``.
    """
    before = stored(encoder)
    if before is None:
        return None
    now = embedded(encoder)
    cosines = {
        name: float(unit(now[name]) @ unit(before[name]))
        if now[name].shape == before[name].shape
        else 0.0
        for name in now
    }
    name, least = min(cosines.items(), key=lambda pair: pair[1])
    if least < LEAST_COSINE:
        raise ModelError(
            f"{encoder.name} answers otherwise than when its vectors were stored: cosine "
            f"{least:.4f} for the {name}; fetch it again, or reinstall what runs it"
        )
    return least


def _key(encoder: Encoder) -> str:
    return f"{encoder.name} {' '.join(block.name for block in encoder.blocks)}"


def _packaged() -> dict[str, Any]:
    return json.loads((files("vlar.encoders") / _FILE).read_text("utf-8"))


def _kept() -> dict[str, Any]:
    try:
        found = parse_json(read_file(cache_dir() / _FILE, 16 * MB))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _encoded(vector: Float32) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def _decoded(text: str) -> Float32:
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)
