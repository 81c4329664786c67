"""The recipes of FROSTER (arXiv 2402.03241): decay on matrices only, clipping, uniform averaging.

Only size and position of the crop and the mirror image are drawn; the average leaves out the
first epoch. Something-Something V2 is tested with the last weights.
"""

from __future__ import annotations

from dataclasses import replace

from vlar.registry import register
from vlar.training.plan import Plan, decay_matrices


@register("recipe", "froster")
def froster() -> dict[str, Plan]:
    """The runs of the original."""
    base = Plan(
        epochs=12,
        batch=32,
        learning_rate=3.33e-6,
        lowest_rate=3.33e-8,
        first_rate=3.33e-8,
        warmup_epochs=2,
        weight_decay=0.01,
        groups=decay_matrices,
        clip_norm=1.0,
        average="uniform",
        average_from=2,
        crop=(224 / 256) ** 2,
        colour=0.0,
        grey=0.0,
    )
    return {
        "base-to-novel": base,
        "base-to-novel-ucf101": replace(base, batch=64),
        "base-to-novel-ssv2": replace(base, average="none"),
        "zero-shot": replace(base, epochs=22, batch=64),
    }
