"""What a training does, in numbers; a recipe is a plan with a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from vlar import registry
from vlar.errors import UsageError
from vlar.types import JsonDict

Named = Iterable[tuple[str, Any]]
Groups = Callable[[Named, float, float], list[dict[str, Any]]]
Share = Annotated[float, Field(ge=0, le=1)]
Schedule = Literal["cosine", "unshifted-cosine", "constant"]


def one_group(named: Named, rate: float, decay: float) -> list[dict[str, Any]]:
    """All parameters at one rate, and with the same weight decay."""
    return [{"params": [p for _, p in named], "lr": rate, "weight_decay": decay}]


def decay_matrices(named: Named, rate: float, decay: float) -> list[dict[str, Any]]:
    """One rate; vectors (biases, norms) without weight decay."""
    listed = list(named)
    vectors = [p for name, p in listed if p.ndim == 1 or name.endswith(".bias")]
    taken = {id(p) for p in vectors}
    rest = [p for _, p in listed if id(p) not in taken]
    groups = [
        {"params": rest, "lr": rate, "weight_decay": decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Plan:
    """One way of training.

    Attributes:
        epochs: Passes over the training set.
        batch: Clips per optimiser step.
        micro_batch: Clips at a time, ``batch`` at most; gradients are summed up to ``batch``. None
            means all.
        learning_rate: Base rate.
        lowest_rate: What the cosine ends at.
        first_rate: What the warm-up begins at.
        warmup_epochs: Epochs with a rising rate.
        schedule: ``cosine`` counts from the end of the warm-up, ``unshifted-cosine`` from the
            first step (TC-CLIP), ``constant`` stays.
        betas: Of AdamW.
        epsilon: Of AdamW.
        weight_decay: Of AdamW.
        groups: Splits the parameters among rates and decays.
        clip_norm: Largest norm of the gradient; 0 means no limit.
        label_smoothing: Share of a target that is spread over all labels.
        mixup: Parameter of the Beta distribution of mixed clips; 0 means never.
        cutmix: The same for pasted boxes (pixels only); with both, one is drawn for each batch.
        mix_share: Share of the batches that are mixed.
        average: Of the weights: ``ema`` over steps, ``uniform`` over the ends of epochs, or none.
        ema_decay: Weight of the past at each step.
        average_from: First epoch, counted from 1, that the uniform average takes.
        ensemble: Weight of the trained against the starting weights (WiSE-FT); 1 means trained.
        ensemble_skips: Beginnings of names that are taken as trained: they have no start to keep.
        precision: ``no`` (float32), ``bf16`` or ``fp16`` autocast.
        augment: Frames and features are drawn anew each time: crop, flip, colour, moved times.
        flip: Among them the mirror image; not for labels that tell left from right.
        crop: Least share of the area that a crop keeps.
        colour: Share of the clips whose colours change.
        grey: Share of the clips that lose their colours.
        time_jitter: Share of the window by which its ends and its pace may move.
        block_dropout: Share of the clips in which one input block is silent (features only).
        settings: Of the adapter, where the recipe is of its method and nothing else is asked for.
    """

    epochs: PositiveInt = 20
    batch: PositiveInt = 32
    micro_batch: PositiveInt | None = None
    learning_rate: PositiveFloat = 1e-5
    lowest_rate: NonNegativeFloat = 0.0
    first_rate: NonNegativeFloat = 0.0
    warmup_epochs: NonNegativeFloat = 1
    schedule: Schedule = "cosine"
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    groups: Groups = decay_matrices
    clip_norm: NonNegativeFloat = 1.0
    label_smoothing: Share = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    mix_share: Share = 1.0
    average: Literal["none", "ema", "uniform"] = "none"
    ema_decay: Share = 0.99
    average_from: PositiveInt = 1
    ensemble: Share = 1.0
    ensemble_skips: tuple[str, ...] = ()
    precision: Literal["no", "bf16", "fp16"] = "no"
    augment: bool = True
    flip: bool = True
    crop: Share = 0.5
    colour: Share = 0.8
    grey: Share = 0.2
    time_jitter: Share = 0.2
    block_dropout: Share = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.batch % min(self.micro_batch or self.batch, self.batch):
            raise UsageError(
                f"batch {self.batch} is no multiple of micro_batch {self.micro_batch}; choose one "
                "that divides it"
            )
        if self.warmup_epochs > self.epochs:
            raise UsageError(
                f"warmup_epochs {self.warmup_epochs} is more than epochs {self.epochs}; use less"
            )

    def rate(self, step: int, steps_per_epoch: int, base_rate: float) -> float:
        """The learning rate of a group with ``base_rate`` at a step counted from 0."""
        warm = round(self.warmup_epochs * steps_per_epoch)
        total = self.epochs * steps_per_epoch
        if step < warm:
            return self.first_rate + (base_rate - self.first_rate) * step / warm
        if self.schedule == "constant":
            return base_rate
        shift = 0 if self.schedule == "unshifted-cosine" else warm
        share = min(1.0, (step - shift) / max(total - shift, 1))
        half = (base_rate - self.lowest_rate) / 2
        return self.lowest_rate + half * (1 + math.cos(math.pi * share))


def load_recipe(name: str) -> Plan:
    """The plan of a recipe, ``METHOD/PROTOCOL`` or the one of a method, ``METHOD``.

    Raises:
        UnknownNameError: there is no such recipe; the message names the nearest.
    """
    plans = recipes()
    if name not in plans:
        raise registry.unknown_name("recipe", name, plans)
    return plans[name]


def recipes() -> dict[str, Plan]:
    """All recipes by name; those of a method are in one file of ``vlar/training/recipes``."""
    found: dict[str, Plan] = {}
    for method in registry.names("recipe"):
        for protocol, plan in registry.get("recipe", method)().items():
            found[f"{method}/{protocol}"] = plan
    return found


def adapter_settings(recipe: str, method: str, given: JsonDict | None = None) -> JsonDict:
    """What an adapter is built with: what is given, else what a recipe of its own method asks."""
    own = recipe.partition("/")[0] == method
    return {**(load_recipe(recipe).settings if own else {}), **(given or {})}


def default_recipe(method: str) -> str:
    """What ``vlar adapt`` trains a method by: its own ``adapt``, or the general one."""
    name = f"{method}/adapt"
    return name if name in recipes() else "general/adapt"
