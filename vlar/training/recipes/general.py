"""The recipe of methods that bring none of their own."""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Plan


@register("recipe", "general")
def general() -> dict[str, Plan]:
    """Few examples and small added parts: a brisk rate, many passes, averaged weights."""
    few = Plan(
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
    return {"adapt": few}
