"""The recipe of MSQNet's open form."""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters


@register("recipe", "msq")
def msq() -> dict[str, Hyperparameters]:
    """Few examples and a small decoder: long, with averaged weights, without mixed clips."""
    few = Hyperparameters(
        epochs=60,
        batch=32,
        learning_rate=1e-3,
        warmup_epochs=6,
        weight_decay=0.1,
        average="ema",
        ema_decay=0.95,
    )
    return {"adapt": few}
