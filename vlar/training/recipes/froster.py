"""The recipes of FROSTER (arXiv 2402.03241) and of the tuned CLIPs it guides.

Decay on matrices only, clipping, uniform averaging. Only size and position of the crop and the
mirror image are drawn; the average leaves out the first epoch. Something-Something V2 is tested
with the last weights.
"""

from __future__ import annotations

from dataclasses import replace

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, decay_matrices

_ADAPT = Hyperparameters(
    epochs=12,
    batch=8,
    micro_batch=4,
    learning_rate=5e-6,
    lowest_rate=5e-8,
    warmup_epochs=1,
    groups=decay_matrices,
    label_smoothing=0.1,
    average="uniform",
    average_from=4,
)  # few examples and whole towers: a low rate, few passes


@register("recipe", "tuned")
def tuned() -> dict[str, Hyperparameters]:
    """A short run for ``vlar adapt``."""
    return {"adapt": _ADAPT}


@register("recipe", "froster")
def froster() -> dict[str, Hyperparameters]:
    """The runs of the original, and a short one for ``vlar adapt``."""
    base = Hyperparameters(
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
        "adapt": _ADAPT,
    }
