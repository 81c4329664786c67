"""The recipe of the temporal adapter: strong regularisation, because clips are few.

The numbers were set beforehand. Variations, tried on half of the labels of another pool, did not
improve on them (evals/README.md).
"""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, decay_matrices


@register("recipe", "temporal")
def temporal() -> dict[str, Hyperparameters]:
    """One protocol."""
    few = Hyperparameters(
        epochs=120,
        batch=64,
        learning_rate=2e-3,
        warmup_epochs=12,
        weight_decay=0.3,
        groups=decay_matrices,
        label_smoothing=0.1,
        mixup=0.4,
        average="ema",
        ema_decay=0.95,
        block_dropout=0.2,
    )
    return {"adapt": few}
