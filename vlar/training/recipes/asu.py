"""The recipe of attentive semantic units."""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters


@register("recipe", "asu")
def asu() -> dict[str, Hyperparameters]:
    """Few examples: label smoothing, strong decay, averaged weights."""
    few = Hyperparameters(
        epochs=40,
        batch=32,
        learning_rate=1e-3,
        warmup_epochs=4,
        weight_decay=0.1,
        label_smoothing=0.1,
        average="ema",
        ema_decay=0.95,
    )
    return {"adapt": few}
