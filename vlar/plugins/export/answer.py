"""Probabilities of an adapted model as code that can be traced, and the check of an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UsageError
from vlar.heads.adapted_head import AdaptedHead
from vlar.heads.logistic import logistic
from vlar.heads.reject import LogitRejector
from vlar.heads.signatures import names_sensors, signature
from vlar.heads.zero_shot import ContentFree
from vlar.language.labels import Labels
from vlar.model.model import Model
from vlar.types import Float64, UInt8

MOST_DIFFERENCE = 1e-5
UNKNOWN = "unknown"
_CHECKED = 3  # clips


def exportable_head(model: Model) -> AdaptedHead:
    """The head of an adapted model.

    Raises:
        UsageError: it has none, or answers by more than one picture's vectors.
    """
    head, why = model.head, None
    if head is None:
        why = "it has no labels of its own; adapt it first"
    elif model.words.conditions_text and head.head.trained:
        why = "its texts depend on the clip"
    elif hasattr(head.head, "pair_logits"):
        why = "it answers about verbs and objects apart"
    elif names_sensors(head.kind):
        why = "it reads several sensors"
    if head is None or why is not None:
        raise UsageError(f"model {model.name!r} cannot be exported: {why}")
    return head


def source_of(encoder: Any) -> Any:
    """The encoder, or the one whose vector an adapter adds a residual to.

    Raises:
        UsageError: it is an adapter of another kind.
    """
    if isinstance(encoder, TorchEncoder) or not hasattr(encoder, "encoder"):
        return encoder
    if getattr(encoder, "method", "") != "temporal" or getattr(encoder.config, "regions", 0):
        name = getattr(encoder, "method", encoder.name)
        raise UsageError(
            f"the adapter {name!r} cannot be exported; closed forms and a plain temporal can"
        )
    return encoder.source


def head_answer(model: Model, head: AdaptedHead, features: Any, vector: Any) -> Any:
    """(C + 1,) probabilities of the labels and of unknown, as ``LabelClassifier`` gives them."""
    row = signature(features, head.blocks, head.head.kind)
    own = row if head.kind == head.head.kind else signature(features, head.blocks, head.kind)
    zero_shot = vector @ head.concepts.T
    logits, rejector = head.head.logits(row, zero_shot), head.rejector
    if isinstance(rejector, LogitRejector):
        unknown = logistic(rejector.of_logits(logits), rejector.centre, rejector.slope)
    else:
        unknown = rejector.probability(own)
    share = head.head.probabilities(row, zero_shot)
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    blank = ContentFree(model.words.content_free).probability(vector)
    known = share * ((1.0 - unknown) * (1.0 - blank)).reshape(1, 1)
    unknown = blank + (1.0 - blank) * unknown
    if model.calibration is not None:
        known, unknown = model.calibration.one(known, unknown)
    return np.concatenate([known, unknown.reshape(1, 1)], axis=1).reshape(-1)


def check_clips(shape: tuple[int, ...]) -> UInt8:
    """Clips (3, T, H, W, 3) of a shape (T, H, W, 3): one colour, noise, and a square that moves."""
    clips = np.random.default_rng(0).integers(0, 256, (_CHECKED, *shape), np.uint8)
    clips[0] = 17  # nothing to recognise
    clips[2] = np.linspace(0, 255, shape[2], dtype=np.uint8)[:, None]
    side = max(shape[1] // 3, 1)
    for number, frame in enumerate(clips[2]):
        frame[side : 2 * side, number : number + side] = (250, 220, 60)
    return clips


def checked(
    model: Model, labels: Labels | None, clips: UInt8, run: Callable[[UInt8], Float64]
) -> float:
    """Largest difference of a probability between an export and its model.

    Args:
        model: The model.
        labels: Of a zero-shot model.
        clips: (N, T, H, W, 3).
        run: Frames (T, H, W, 3) to the exported probabilities (C + 1,), unknown last.

    Raises:
        ModelError: it is above 1e-5.
    """
    names = [*(model.labels or model.classifier(labels).labels), UNKNOWN]
    largest = 0.0
    for frames in clips:
        answer = model.classify(frames, labels, top=len(names))
        stated = {row.label: row.probability for row in answer.predictions}
        stated[UNKNOWN] = answer.unknown_probability
        rows = zip(names, run(frames).tolist(), strict=True)
        largest = max(largest, *(abs(value - stated[name]) for name, value in rows))
    if not largest <= MOST_DIFFERENCE:
        raise ModelError(
            f"the export differs from model {model.name!r} by {largest:.2g} in a probability "
            f"({MOST_DIFFERENCE:g} is allowed); nothing was written"
        )
    return largest
