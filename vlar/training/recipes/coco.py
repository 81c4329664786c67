"""The recipe of CoCo: small maps on features, as far as a few hundred clips carry."""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, decay_matrices


@register("recipe", "coco")
def coco() -> dict[str, Hyperparameters]:
    """One protocol."""
    few = Hyperparameters(
        epochs=40,
        batch=64,
        learning_rate=1e-3,
        warmup_epochs=4,
        weight_decay=0.05,
        groups=decay_matrices,
        average="ema",
        ema_decay=0.9,
    )
    return {"adapt": few}
