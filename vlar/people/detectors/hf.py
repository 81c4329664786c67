"""``hf:FOLDER``: zero-shot detectors of Transformers, which find what a word names.

OWLv2 (Minderer et al., "Scaling Open-Vocabulary Object Detection", 2023), Grounding DINO (Liu et
al., 2023) and other models of the class ``AutoModelForZeroShotObjectDetection``, from a folder with
their weights, or by their name on the Hub where downloads are allowed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlar.errors import ModelError, UsageError
from vlar.files.checkpoints import data_only
from vlar.people.base import PERSON, Boxes, Detector
from vlar.registry import register
from vlar.types import Float64, UInt8

_LEAST_SCORE = 0.15  # scores of open vocabularies are low
_SAME = 0.5  # intersection over union of two boxes of one thing
_RATE_HZ = 2.0  # frames a second that are searched; between them boxes are interpolated
#: Words that find the same; the boxes of all of them count.
_SYNONYMS = {PERSON: ("person", "human", "pedestrian seen from above")}


@register("detector", "hf")
class HubDetector(Detector):
    """Boxes of a named thing, in two frames a second.

    Args:
        model: An ``AutoModelForZeroShotObjectDetection``.
        processor: Its processor.
        least_score: Boxes below it are left out, 0 to 1.
    """

    name = "hf"
    finds = "words"
    rate_hz = _RATE_HZ

    def __init__(self, model: Any, processor: Any, least_score: float = _LEAST_SCORE) -> None:
        self._model, self._processor = model.eval(), processor
        self.least_score = least_score

    @classmethod
    def from_spec(cls, argument: str) -> HubDetector:
        """The detector of a folder, or of a name on the Hub."""
        if not argument:
            raise UsageError(
                "detector 'hf' needs a model: hf:FOLDER, such as a folder with OWLv2 or Grounding "
                "DINO"
            )
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            safe = data_only()
            model = AutoModelForZeroShotObjectDetection.from_pretrained(argument, **safe)
            processor = AutoProcessor.from_pretrained(argument, **safe)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise ModelError(
                f"hf:{argument}: not a zero-shot detector that can be loaded ({reason}); give a "
                "folder with OWLv2 or Grounding DINO"
            ) from error
        return cls(model, processor)

    def detect(self, frames: UInt8, times_s: Float64, prompt: str = PERSON) -> Boxes:
        rows: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        words = _SYNONYMS.get(prompt, (prompt,))
        for now in searched_frames(times_s):
            detections, sure = self._found(frames[now], words)
            times = np.full((len(detections), 1), times_s[now])
            rows.append(np.concatenate([times, detections], axis=1))
            scores.append(sure)
        if not rows or not sum(map(len, rows)):
            return Boxes.none()
        joined = np.concatenate(rows).astype(np.float32)
        return Boxes(joined, np.concatenate(scores).astype(np.float32))

    def _found(self, frame: UInt8, words: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Corners (n, 4) in pixels and scores (n,) of one frame, doubles left out."""
        import torch

        inputs = self._processor(images=frame, text=[list(words)], return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs)
        detections = self._read(outputs, inputs, frame.shape[:2])
        boxes = detections["boxes"].float().numpy().reshape(-1, 4)
        scores = detections["scores"].float().numpy().reshape(-1)
        height, width = frame.shape[:2]
        boxes = boxes.clip(0, [width, height, width, height])
        rows = not_doubled(boxes, scores)
        return boxes[rows], scores[rows]

    def _read(self, outputs: Any, inputs: Any, size: tuple[int, ...]) -> Any:
        """The boxes of one picture; processors differ in what they ask for."""
        read = self._processor.post_process_grounded_object_detection
        settings = {"threshold": self.least_score, "target_sizes": [size]}
        if "input_ids" in inputs and "GroundingDino" in type(self._processor).__name__:
            return read(outputs, inputs["input_ids"], **settings)[0]
        return read(outputs, **settings)[0]


def searched_frames(times_s: Float64, rate_hz: float = _RATE_HZ) -> list[int]:
    """Numbers of the frames that are searched: the first, the last, and some a second between.

    At least three, where there are as many: a track needs three boxes.

    >>> searched_frames(np.arange(9) / 4)
    [0, 2, 4, 6, 8]
    """
    if not len(times_s):
        return []
    span_s = float(times_s[-1] - times_s[0])
    count = min(len(times_s), max(3, round(span_s * rate_hz) + 1))
    targets_s = np.linspace(times_s[0], times_s[-1], count)
    return np.unique(np.abs(times_s[None] - targets_s[:, None]).argmin(axis=1)).tolist()


def not_doubled(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Places of the boxes that stay: the best of those that overlap by half (greedy)."""
    from vlar.people.tracks import overlap

    rows: list[int] = []
    for row in np.argsort(-scores, kind="stable").tolist():
        others = boxes[rows]
        if not rows or overlap(boxes[row : row + 1], others).max() <= _SAME:
            rows.append(row)
    return rows
