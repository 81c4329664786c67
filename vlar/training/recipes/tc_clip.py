"""The recipes of TC-CLIP: learning rates, parameter groups and the four protocols.

They follow section 4 of the paper (arXiv 2404.09490) and its released configurations. Everything
is trained, both towers included; only the token embedding stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlar.registry import register, unknown_name
from vlar.training.hyperparameters import Hyperparameters

BETAS = (0.9, 0.98)
EPSILON = 1e-8
WEIGHT_DECAY = 0.001
LABEL_SMOOTHING = 0.1
NEW_PARTS_FACTOR = 10.0  # prompts and prompting layers; the bias tables train at the base rate
_NEW_PARTS = ("prompts", "prompting.")
_FROZEN = ("token_embedding.weight",)


@dataclass(frozen=True)
class Protocol:
    """One way of training and testing.

    Attributes:
        epochs: Passes over the training set.
        warmup_epochs: Epochs with a rising rate.
        learning_rate: Base rate at the full batch.
        lowest_rate: Rate at the end of the cosine, the same in both groups.
        batch: Clips per optimiser step.
    """

    epochs: int
    warmup_epochs: int
    learning_rate: float
    lowest_rate: float
    batch: int


PROTOCOLS = {
    "zero-shot": Protocol(10, 5, 8e-6, 8e-8, 256),
    "few-shot": Protocol(50, 5, 2e-6, 2e-8, 64),
    "base-to-novel": Protocol(12, 2, 3.33e-6, 3.33e-8, 64),
    "fully-supervised": Protocol(30, 5, 2.2e-5, 2.2e-7, 512),
}


def protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        UnknownNameError: the protocol does not exist; the message names the nearest.
    """
    if name not in PROTOCOLS:
        raise unknown_name("TC-CLIP protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


@register("recipe", "tc-clip")
def tc_clip() -> dict[str, Hyperparameters]:
    """The four protocols; four clips at a time, as on each device of the original."""
    return {name: _numbers(found) for name, found in PROTOCOLS.items()}


def _numbers(found: Protocol) -> Hyperparameters:
    return Hyperparameters(
        epochs=found.epochs,
        batch=found.batch,
        micro_batch=4,
        learning_rate=found.learning_rate,
        lowest_rate=found.lowest_rate,
        warmup_epochs=found.warmup_epochs,
        schedule="unshifted-cosine",
        betas=BETAS,
        epsilon=EPSILON,
        weight_decay=WEIGHT_DECAY,
        groups=parameter_groups,
        clip_norm=0.0,
        label_smoothing=LABEL_SMOOTHING,
        mixup=0.8,
        cutmix=1.0,
        crop=(168 / 256) ** 2,
        ensemble_skips=("bias_tables.", "prompts", "prompting."),
    )


def parameter_groups(
    named: Iterable[tuple[str, Any]], base_rate: float, weight_decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """Optimiser groups: base rate, and ten times that for prompts and prompting layers.

    Weight decay falls on every parameter, biases and norms included.

    Args:
        named: Names and parameters of the CLIP and of the adapter.
        base_rate: Learning rate of the first group.
        weight_decay: Weight decay of both groups.
    """
    base: list[Any] = []
    new: list[Any] = []
    for name, parameter in named:
        if not name.endswith(_FROZEN):
            (new if name.startswith(_NEW_PARTS) else base).append(parameter)
    shared = {"weight_decay": weight_decay}
    return [
        {"params": base, "lr": base_rate, **shared},
        {"params": new, "lr": base_rate * NEW_PARTS_FACTOR, **shared},
    ]
