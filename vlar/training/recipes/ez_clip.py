"""The recipes of EZ-CLIP (arXiv 2312.08010): one rate, decay on everything, no clipping.

The configured limit of the gradient is never applied in the original, so there is none here. Crops
keep at least 0.66 of each side.
"""

from __future__ import annotations

from dataclasses import replace

from vlar.registry import register
from vlar.training.hyperparameters import Hyperparameters, one_group


@register("recipe", "ez-clip")
def ez_clip() -> dict[str, Hyperparameters]:
    """The runs of the original (``few-shot`` is HMDB51), and a short one for ``vlar adapt``."""
    base = Hyperparameters(
        epochs=150,
        batch=80,
        learning_rate=1e-4,
        warmup_epochs=5,
        betas=(0.9, 0.98),
        weight_decay=0.2,
        groups=one_group,
        clip_norm=0.0,
        crop=0.66**2,
        settings={"prompt_dropout": 0.1, "drop": 0.1},
    )
    return {
        "zero-shot": base,
        "base-to-novel": replace(base, epochs=100, batch=50, learning_rate=5e-6),
        "base-to-novel-hmdb51": replace(base, epochs=50, batch=20),
        "base-to-novel-ucf101": replace(base, epochs=50, batch=60, learning_rate=1e-5),
        "base-to-novel-ssv2": replace(base, epochs=100, batch=50, learning_rate=1e-5, flip=False),
        "few-shot": replace(base, epochs=180, batch=10),
        "adapt": replace(base, epochs=30, batch=10, warmup_epochs=3, clip_norm=1.0),
    }
