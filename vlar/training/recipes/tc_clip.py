"""The recipe of TC-CLIP: learning rates, parameter groups and the four protocols.

After section 4 of the paper (arXiv 2404.09490) and its released configurations. Everything is
trained, both towers included; only the token embedding stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vlar.errors import UsageError
from vlar.registry import register, unknown_name
from vlar.training.hyperparameters import Plan

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
        warmup_epochs: Of them with a rising rate.
        learning_rate: Base rate at the full batch.
        lowest_rate: End of the cosine, the same in both groups.
        batch: Videos per optimiser step.
        n_frames: T.
        views: Temporal views times crops in the final test; 2 views are two random samplings.
    """

    epochs: int
    warmup_epochs: int
    learning_rate: float
    lowest_rate: float
    batch: int
    n_frames: int = 16
    views: tuple[int, int] = (1, 1)


PROTOCOLS = {
    "zero-shot": Protocol(10, 5, 8e-6, 8e-8, 256, views=(2, 1)),
    "few-shot": Protocol(50, 5, 2e-6, 2e-8, 64, views=(2, 1)),
    "base-to-novel": Protocol(12, 2, 3.33e-6, 3.33e-8, 64, views=(2, 1)),
    "fully-supervised": Protocol(30, 5, 2.2e-5, 2.2e-7, 512, views=(4, 3)),
}


def protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        UnknownNameError: there is no such protocol; the message names the nearest.
    """
    if name not in PROTOCOLS:
        raise unknown_name("TC-CLIP protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


@register("recipe", "tc-clip")
def tc_clip() -> dict[str, Plan]:
    """The four protocols as plans; four videos at a time, as on each device of the original."""
    return {name: _plan(found) for name, found in PROTOCOLS.items()}


def _plan(found: Protocol) -> Plan:
    return Plan(
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


@dataclass(frozen=True)
class UnshiftedCosine:
    """Linear warm-up, then a cosine that counts from the first iteration, not from its end.

    The rate therefore drops where the warm-up ends, as it does in the original.

    Attributes:
        n_iterations: All iterations of the training (not optimiser steps).
        n_warmup: Of them with a rising rate; the first one runs at rate 0.
        lowest_rate: What the cosine ends at.
    """

    n_iterations: int
    n_warmup: int
    lowest_rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.n_warmup <= self.n_iterations or self.n_iterations < 1:
            raise UsageError(
                f"{self.n_warmup} warm-up iterations of {self.n_iterations}: use 0 or more, and no "
                "more than all"
            )

    @classmethod
    def of(cls, plan: Protocol, iterations_per_epoch: int) -> UnshiftedCosine:
        """The schedule of a protocol."""
        return cls(
            plan.epochs * iterations_per_epoch,
            plan.warmup_epochs * iterations_per_epoch,
            plan.lowest_rate,
        )

    def rate(self, iteration: int, base_rate: float) -> float:
        """The learning rate of a group with ``base_rate`` at an iteration counted from 0.

        >>> schedule = UnshiftedCosine.of(PROTOCOLS["zero-shot"], 100)
        >>> [round(schedule.rate(i, 8e-6), 9) for i in (0, 499, 500)]
        [0.0, 7.984e-06, 4.04e-06]
        """
        if iteration < self.n_warmup:
            return base_rate * iteration / self.n_warmup
        share = min(1.0, iteration / self.n_iterations)
        half = (base_rate - self.lowest_rate) / 2
        return self.lowest_rate + half * (1 + math.cos(math.pi * share))


def parameter_groups(
    named: Iterable[tuple[str, Any]], base_rate: float, weight_decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """Optimiser groups: base rate, and ten times that for prompts and prompting layers.

    Weight decay falls on every parameter, biases and norms included.

    Args:
        named: Names and parameters of the CLIP and of the adapter.
        base_rate: Learning rate of the first group.
        weight_decay: Of both groups.
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
