"""The recipes of methods without recipes of their own."""

from __future__ import annotations

from dataclasses import replace

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters


@register("recipe", "general")
def general() -> dict[str, Hyperparameters]:
    """Few examples and small added parts: a high rate, many passes, averaged weights.

    ``adapt-cpu`` is what a CPU trains by pixels with: fewer passes at a higher rate, and the whole
    batch at once, so that texts are encoded once a step.
    """
    few = Hyperparameters(
        epochs=20,
        batch=16,
        micro_batch=4,
        learning_rate=2e-4,
        warmup_epochs=2,
        weight_decay=0.05,
        label_smoothing=0.1,
        average="ema",
        ema_decay=0.95,
    )
    short = replace(few, epochs=8, micro_batch=None, learning_rate=4e-4, warmup_epochs=1)
    return {"adapt": few, "adapt-cpu": short}
