"""The recipe of C2C for few clips: the rates of the paper, more epochs, more decay.

The numbers were set beforehand. The paper trains 50 epochs of 38,000 clips (rate 5e-4, decay 1e-4,
batch 64, warm-up of 3 epochs); an epoch of a few hundred clips has few steps.
"""

from __future__ import annotations

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, decay_matrices


@register("recipe", "c2c")
def c2c() -> dict[str, Hyperparameters]:
    """One protocol."""
    few = Hyperparameters(
        epochs=80,
        batch=64,
        learning_rate=1e-3,
        warmup_epochs=5,
        weight_decay=0.05,
        groups=decay_matrices,
        block_dropout=0.1,
    )
    return {"adapt": few}
