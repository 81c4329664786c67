"""Reasons of an answer: labels understood as motion, and attributes that decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlar.apps.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vlar.model.model import Model
    from vlar.types import Classification, Float32

_STRONGEST = 5


def labels(model: Model, texts: Sequence[str]) -> None:
    """One note a label: the entries of the verb table that stand for it, or that none does."""
    explain = getattr(model.encoder, "explain", None)
    for text in texts:
        meaning = explain(text) if explain else None
        if meaning is None:
            output.note("vlar: no motion is read from labels here (vlar models get lite-motion)")
            return
        how = {"table": "is", "nearest": "is like", "unknown": "says nothing of motion"}
        phrases = ", ".join(repr(phrase) for phrase in meaning.phrases)
        output.note(f"vlar: {text!r} {how[meaning.how]} {phrases}".rstrip())


def answer(model: Model, row: Classification, texts: dict[str, str]) -> None:
    """Print one note an answer: the attributes for and against its best label."""
    names = [block.name for block in model.encoder.blocks]
    if "motion" not in names:
        return
    from vlar.pose.attributes.base import attribute_names, hand_attribute_names
    from vlar.types import Window

    path: Path = row.path
    seen = model.encode_views(model.view_sampler.sample(path, Window(row.start_s, row.end_s)))
    begin = sum(block.width for block in model.encoder.blocks[: names.index("motion")])
    best = row.predictions[0].label
    product = seen.vector * model.encode_labels([texts.get(best, best)])[0]
    motion = product[begin : begin + len(attribute_names())]
    parts = _strongest(attribute_names(), motion)
    said = (
        f"objects {product[:begin].sum():+.3f}, "
        f"motion {motion.sum():+.3f} ({parts or 'no body seen'})"
    )
    if "hands" in names:
        begin = sum(block.width for block in model.encoder.blocks[: names.index("hands")])
        hands = product[begin : begin + len(hand_attribute_names())]
        parts = _strongest(hand_attribute_names(), hands)
        said += f", hands {hands.sum():+.3f} ({parts or 'no hand looked for or seen'})"
    output.note(f"vlar: {path}: {best!r}: {said}")


def _strongest(names: Sequence[str], product: Float32) -> str:
    import numpy as np

    order = np.argsort(-np.abs(product), kind="stable")[:_STRONGEST]
    return ", ".join(f"{names[i]} {product[i]:+.3f}" for i in order if product[i])
