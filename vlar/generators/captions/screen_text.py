"""``screen-text``: text in the picture, by the models of RapidOCR (extra ``ocr``); offline.

A small picture that an encoder asked for has no legible text, so frames are read again from the
recording, about one a second. A frame that shows the same as one of the last is not read: windows
of a library overlap, and each of their frames comes twice.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vlar.encoders.captions import Captioner, Captions, quote
from vlar.errors import ModelError, UsageError, VlarError
from vlar.files.workers import single
from vlar.media.lookup import reader
from vlar.registry import register
from vlar.types import Clip, Sampling, UInt8, Window
from vlar.version import pip_install

_SAMPLING = Sampling(4, shorter_side=720, fps=1.0, max_frames=30)
_LEGIBLE = 360  # pixels of the shorter side from which the frames of a clip are taken as they are
_CELL = 8  # pixels
_CHANGE = 8  # grey levels (0 to 255) of a cell that count as another picture
_MOST_TEXTS = 40  # of one clip
_CONFIDENCE = 0.8
_SIDE = 736  # pixels of the longer side in which text is looked for; it is read in full size
_RECENT = 8  # frames whose text is kept
Box = tuple[float, ...]  # left, top, right, bottom, 0 to 1 of the frame


@register("captioner", "screen-text")
class ScreenTextCaptioner(Captioner):
    """Lines of text on screen, each with the span and the place in which it was read."""

    name = "screen-text"
    licence = "Apache-2.0"
    contract_argument: ClassVar[str | None] = "" if find_spec("rapidocr") else None

    def __init__(self) -> None:
        if find_spec("rapidocr") is None:
            raise ModelError(
                "the captioner 'screen-text' needs rapidocr, which is not installed; "
                f"{pip_install('ocr')}"
            )
        self._lock = threading.Lock()
        self._recent: deque[tuple[UInt8, dict[str, Box]]] = deque(maxlen=_RECENT)
        choices = f"{_CONFIDENCE} {_SAMPLING} {_LEGIBLE} {_CELL} {_CHANGE} {_SIDE}"
        facts = f"{version('rapidocr')} {choices} 2"
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()

    @classmethod
    def from_spec(cls, argument: str) -> ScreenTextCaptioner:
        if argument:
            raise UsageError(f"the captioner 'screen-text' has no argument, got {argument!r}")
        return cls()

    @property
    def sampling(self) -> Sampling:
        return _SAMPLING

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Lines of text in each clip, in the order in which they appear; none of other sensors."""
        return [self._of(clip) if clip.modality == "video" else () for clip in clips]

    def _of(self, clip: Clip) -> Captions:
        if not len(clip.data) or min(clip.data.shape[1:3]) < _LEGIBLE:
            # A recording that is gone since, or an array: what there is must do.
            with suppress(VlarError, OSError):
                clip = single.call(clip.path, _frames, clip.path, clip.window)
        step_s = clip.window.duration_s / max(len(clip.data), 1)
        spans: dict[str, tuple[float, float, Box]] = {}
        for index, frame in enumerate(clip.data):
            start_s = clip.window.start_s + index * step_s
            for line, box in self._read(frame).items():
                first_s, _, first_box = spans.get(line, (start_s, 0.0, box))
                spans[line] = first_s, start_s + step_s, first_box
        longest = list(spans.items())[:_MOST_TEXTS]
        return tuple(
            quote("shows", start_s, end_s, line, box=box) for line, (start_s, end_s, box) in longest
        )

    def _read(self, frame: UInt8) -> dict[str, Box]:
        """Lines of a frame and their boxes, or those of a recent one that shows the same."""
        for before, lines in reversed(tuple(self._recent)):
            if not differs(before, frame):
                return lines
        lines = self._lines(frame)
        self._recent.append((frame.copy(), lines))
        return lines

    def _lines(self, frame: UInt8) -> dict[str, Box]:
        with self._lock:
            lines = self._engine(np.ascontiguousarray(frame[..., ::-1]), use_cls=False)
        if not lines.txts:
            return {}
        size = np.array(frame.shape[1::-1], np.float64)
        corners = np.asarray(lines.boxes, np.float64).reshape(len(lines.txts), 4, 2) / size
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
        # A single sign is what noise is read as.
        return {
            text: tuple(box)
            for text, score, box in zip(lines.txts, lines.scores, boxes, strict=True)
            if score >= _CONFIDENCE and sum(map(str.isalnum, text)) > 1
        }

    @cached_property
    def _engine(self) -> Any:
        from rapidocr import RapidOCR  # pyright: ignore[reportMissingImports]

        wide = {"Det.limit_type": "max", "Det.limit_side_len": _SIDE}
        return RapidOCR(params={"Global.log_level": "critical", **wide})


def differs(before: UInt8, frame: UInt8) -> bool:
    """Return whether two pictures (H, W, 3) differ in the mean grey of any cell of 8 x 8 pixels."""
    from PIL import Image

    if before.shape != frame.shape:
        return True
    grey = [Image.fromarray(picture).convert("L").reduce(_CELL) for picture in (before, frame)]
    cells = [np.asarray(picture, np.int16) for picture in grey]
    return int(np.abs(cells[0] - cells[1]).max()) > _CHANGE


def _frames(path: Path, window: Window) -> Clip:
    """The task of a worker."""
    return reader("video").read_clip(path, window, _SAMPLING)
