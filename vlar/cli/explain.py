"""What decided: how labels were understood as motion, and which attributes spoke for an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlar.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vlar.model.model import Model
    from vlar.types import Classification

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
    """One note an answer: the attributes that spoke for and against its best label."""
    names = [block.name for block in model.encoder.blocks]
    if "motion" not in names:
        return
    import numpy as np

    from vlar.pose.attributes.base import attribute_names
    from vlar.types import Window

    path: Path = row.path
    seen = model.encode_views(model.view_sampler.sample(path, Window(row.start_s, row.end_s)))
    begin = sum(block.width for block in model.encoder.blocks[: names.index("motion")])
    best = row.predictions[0].label
    product = seen.vector * model.encode_labels([texts.get(best, best)])[0]
    motion = product[begin : begin + len(attribute_names())]
    order = np.argsort(-np.abs(motion), kind="stable")[:_STRONGEST]
    parts = ", ".join(f"{attribute_names()[i]} {motion[i]:+.3f}" for i in order if motion[i])
    output.note(
        f"vlar: {path}: {best!r}: objects {product[:begin].sum():+.3f}, "
        f"motion {motion.sum():+.3f} ({parts or 'no body seen'})"
    )
