"""``rfdetr:FILE``: RF-DETR of the library ``rfdetr``, which finds the things of COCO by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import ModelError, UsageError
from vlar.people.base import PERSON, Boxes, Detector
from vlar.people.detectors.hf import searched_frames
from vlar.registry import register, unknown_name
from vlar.types import Float64, UInt8
from vlar.version import pip_install

_LEAST_SCORE = 0.4
_RATE_HZ = 4.0
_SIZES = ("nano", "small", "medium", "base", "large")


@register("detector", "rfdetr")
class RfDetrDetector(Detector):
    """Things of COCO by name, four frames a second.

    Args:
        model: A model of the library ``rfdetr``; ``predict(frame, threshold=..)`` gives its boxes.
        classes: Names of its classes.
    """

    name = "rfdetr"
    finds = "words"
    rate_hz = _RATE_HZ

    def __init__(self, model: Any, classes: Sequence[str]) -> None:
        self._model, self._classes = model, tuple(classes)

    @classmethod
    def from_spec(cls, argument: str) -> RfDetrDetector:
        """The detector of a weights file, ``rfdetr:FILE`` or ``rfdetr:SIZE:FILE``."""
        size, file = _parts(argument)
        if not Path(file).is_file():
            raise ModelError(f"rfdetr:{argument}: no such file; give the weights of RF-DETR")
        try:
            import rfdetr  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ModelError(
                f"detector 'rfdetr' needs the library rfdetr; install it: {pip_install('zoom')}"
            ) from error
        try:
            model = getattr(rfdetr, f"RFDETR{size.capitalize()}")(pretrain_weights=file)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"rfdetr:{argument}: cannot be read ({error}); check it") from error
        return cls(model, list(model.class_names))

    def check_noun(self, noun: str, is_person: bool) -> None:
        if not is_person and noun not in self._classes:
            raise unknown_name("thing of COCO", noun, self._classes)

    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        rows: list[tuple[float, ...]] = []
        scores: list[float] = []
        for now in searched_frames(times_s, _RATE_HZ):
            detections = self._model.predict(frames[now], threshold=_LEAST_SCORE)
            names = detections.data["class_name"]
            for box, score, name in zip(detections.xyxy, detections.confidence, names, strict=True):
                if name == prompt:
                    rows.append((float(times_s[now]), *(float(side) for side in box)))
                    scores.append(float(score))
        if not rows:
            return Boxes.none()
        return Boxes(np.array(rows, np.float32), np.array(scores, np.float32))


def _parts(argument: str) -> tuple[str, str]:
    """The size and the file of ``FILE`` or ``SIZE:FILE``."""
    if not argument:
        raise UsageError("detector 'rfdetr' needs its weights: rfdetr:FILE or rfdetr:SIZE:FILE")
    size, _, file = argument.partition(":")
    if file and size in _SIZES:
        return size, file
    return "base", argument
