"""Hyperparameters of a training; a recipe is a named set of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vlar import registry
from vlar.errors import UsageError
from vlar.registry import register
from vlar.types import JsonDict

Named = Iterable[tuple[str, Any]]
Groups = Callable[[Named, float, float], list[dict[str, Any]]]
Share = Annotated[float, Field(ge=0, le=1)]
# Not finite, or without end, is a mistake in a configuration that another person wrote.
PositiveInt = Annotated[int, Field(ge=1, le=1_000_000)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_NOT_SET = ("groups", "settings")
Schedule = Literal["cosine", "unshifted-cosine", "constant"]


def one_group(named: Named, rate: float, decay: float) -> list[dict[str, Any]]:
    """All parameters at one rate, and with the same weight decay."""
    return [{"params": [p for _, p in named], "lr": rate, "weight_decay": decay}]


def decay_matrices(named: Named, rate: float, decay: float) -> list[dict[str, Any]]:
    """One rate; vectors (biases, norms) without weight decay."""
    listed = list(named)
    vectors = [p for name, p in listed if p.ndim == 1 or name.endswith(".bias")]
    identities = {id(p) for p in vectors}
    decayed = [p for _, p in listed if id(p) not in identities]
    groups = [
        {"params": decayed, "lr": rate, "weight_decay": decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of one training.

    Attributes:
        epochs: Passes over the training set.
        batch: Clips per optimiser step.
        micro_batch: Clips at a time, ``batch`` at most; gradients are summed up to ``batch``. None
            means all.
        learning_rate: Base rate.
        lowest_rate: Rate at the end of the cosine.
        first_rate: Rate at the start of the warm-up.
        warmup_epochs: Epochs with a rising rate, ``epochs`` at most.
        schedule: ``cosine`` counts from the end of the warm-up, ``unshifted-cosine`` from the
            first step (TC-CLIP), ``constant`` stays.
        betas: Betas of AdamW.
        epsilon: Epsilon of AdamW.
        weight_decay: Weight decay of AdamW.
        groups: Splits the parameters into groups of their own rate and decay.
        clip_norm: Largest norm of the gradient; 0 means no limit.
        label_smoothing: Share of a target that is spread over all labels, 0 to 1.
        mixup: Parameter of the Beta distribution of mixed clips; 0 means never.
        cutmix: The same for pasted boxes (pixels only); with both, one is drawn for each batch.
        mix_share: Share of the batches that are mixed, 0 to 1.
        average: Average of the weights: ``ema`` over steps, ``uniform`` over the ends of epochs,
            or ``none``.
        ema_decay: Weight of the past at each step, 0 to 1.
        average_from: First epoch, counted from 1, in the uniform average.
        ensemble: Weight of the trained against the starting weights (WiSE-FT); 1 means trained.
        ensemble_skips: Prefixes of parameter names that stay as trained: they have no start worth
            keeping.
        precision: ``no`` (float32), ``bf16`` or ``fp16`` autocast.
        gradient_checkpointing: Compute the insides of a tower's blocks again in the backward pass:
            less memory, about a third more time, the same gradients.
        augment: Draw changes of a clip each time: crop, flip, colour, moved times.
        flip: Draw the mirror image too; not for labels that distinguish left from right.
        crop: Least share of the area that a crop keeps, 0 to 1.
        colour: Share of the clips whose colours change, 0 to 1.
        grey: Share of the clips that lose their colours, 0 to 1.
        time_jitter: Share of the window by which its ends and its pace may move, 0 to 1.
        block_dropout: Share of the clips in which one input block is zero (features only).
        settings: Settings of the adapter where the recipe belongs to its method.
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
    gradient_checkpointing: bool = False
    augment: bool = True
    flip: bool = True
    crop: Share = 0.5
    colour: Share = 0.8
    grey: Share = 0.2
    time_jitter: Share = 0.2
    block_dropout: Share = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.batch % min(self.micro_batch or self.batch, self.batch):
            raise UsageError(
                f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}; choose "
                "one that divides it"
            )
        if self.warmup_epochs > self.epochs:
            raise UsageError(
                f"warmup_epochs {self.warmup_epochs:g} is more than epochs {self.epochs}; use "
                f"{self.epochs} or less"
            )
        if self.average == "uniform" and self.average_from > self.epochs:
            raise UsageError(
                f"average_from {self.average_from} is more than epochs {self.epochs}, so no epoch "
                f"is averaged; use {self.epochs} or less"
            )

    def replaced(self, **given: Any) -> Hyperparameters:
        """Copy with some of them replaced; a new number of epochs scales those that count in
        epochs.

        ``warmup_epochs`` keeps its share of the training, and ``average_from`` its place, unless
        they are given too. ``micro_batch`` becomes the largest divisor of the batch below it.

        >>> Hyperparameters(epochs=20, warmup_epochs=5).replaced(epochs=4).warmup_epochs
        1.0
        """
        values: dict[str, Any] = dict(given)
        epochs = given.get("epochs")
        if isinstance(epochs, int) and epochs > 0:
            share = epochs / self.epochs
            values.setdefault("warmup_epochs", min(self.warmup_epochs, self.warmup_epochs * share))
            later = min(self.average_from, max(1, round(self.average_from * share)))
            values.setdefault("average_from", later)
        batch = given.get("batch")
        if isinstance(batch, int) and self.micro_batch and 0 < self.micro_batch < batch:
            divisors = (size for size in range(self.micro_batch, 0, -1) if not batch % size)
            values.setdefault("micro_batch", next(divisors))
        own_values = {row.name: getattr(self, row.name) for row in fields(self)}
        return TypeAdapter(Hyperparameters).validate_python({**own_values, **values})

    def passes(self, count: int) -> int:
        """Clips that go through the steps of a training on ``count`` clips, over all epochs."""
        batch = min(self.batch, count)
        return self.epochs * max(1, count // max(batch, 1)) * batch

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


#: Names of the hyperparameters that a user may set.
NUMBERS = tuple(row.name for row in fields(Hyperparameters) if row.name not in _NOT_SET)
#: Weight of the trained against the starting weights, as in MAXI: such a training forgets much.
ENSEMBLE = 0.8


def for_no_labels(numbers: Hyperparameters) -> Hyperparameters:
    """Hyperparameters without what needs labels; the end is mixed with the start."""
    return replace(numbers, mixup=0.0, cutmix=0.0, label_smoothing=0.0, ensemble=ENSEMBLE)


def divided(settings: Mapping[str, Any]) -> tuple[JsonDict, JsonDict]:
    """Settings of an adaptation: those of its adapter, and those of its training."""
    training = {name: value for name, value in settings.items() if name in NUMBERS}
    return {name: value for name, value in settings.items() if name not in training}, training


def changed(numbers: Hyperparameters, training: JsonDict, method: str) -> Hyperparameters:
    """Hyperparameters with those replaced that a user sets for a method.

    Raises:
        UsageError: a value has another type or is out of range; the message names the method.
    """
    try:
        return numbers.replaced(**training)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ").lower()
        name, shown = first["loc"][0], f"{first['input']!r}"[:80]
        raise UsageError(
            f"method {method!r}: setting {name!r} is {shown}: {reason}; write --set {name}=VALUE"
        ) from error


def load_recipe(name: str) -> Hyperparameters:
    """The hyperparameters of a recipe, ``METHOD/PROTOCOL``.

    Raises:
        UnknownNameError: the recipe does not exist; the message names the nearest.
    """
    table = recipes()
    if name not in table:
        raise registry.unknown_name("recipe", name, table)
    return table[name]


def recipes() -> dict[str, Hyperparameters]:
    """All recipes by name; those of a method lie next to its adapter."""
    table: dict[str, Hyperparameters] = {}
    for method in registry.names("recipe"):
        for protocol, numbers in registry.get("recipe", method)().items():
            table[f"{method}/{protocol}"] = numbers
    return table


def adapter_settings(recipe: str, method: str, given: JsonDict | None = None) -> JsonDict:
    """Settings an adapter is built with: those given, then a preset's, then its own recipe's."""
    is_of_family = recipe.partition("/")[0] == family(method)
    preset = getattr(_adapter(method), "preset_settings", {})
    return {**(load_recipe(recipe).settings if is_of_family else {}), **preset, **(given or {})}


def family(method: str) -> str:
    """Name of the recipes of a method: as its adapter names them, or else its own."""
    return getattr(_adapter(method), "recipe", None) or method


def _adapter(method: str) -> Any:
    return registry.get("adapter", method) if method in registry.names("adapter") else None


def default_recipe(method: str, *, cpu: bool = False) -> str:
    """The recipe of ``vlar adapt``: the method's own ``adapt``, or the general one.

    Args:
        method: Registered name of the adapter.
        cpu: The training reads pixels on a CPU: prefer ``adapt-cpu``, which is shorter.
    """
    table = recipes()
    family_name = family(method)
    name = family_name if f"{family_name}/adapt" in table else "general"
    return f"{name}/adapt-cpu" if cpu and f"{name}/adapt-cpu" in table else f"{name}/adapt"


@register("recipe", "general")
class General(dict[str, Hyperparameters]):
    """Few examples and small added parts: a high rate, many passes, averaged weights.

    ``adapt-cpu`` is what a CPU trains by pixels with: fewer passes at a higher rate, and the whole
    batch at once, so that texts are encoded once a step. Other recipes are tables of numbers in a
    ``presets.toml``, one row a protocol; what a row leaves out is that of ``Hyperparameters``.
    """

    def __init__(self) -> None:
        few = Hyperparameters(
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
        short = replace(few, epochs=8, micro_batch=None, learning_rate=4e-4, warmup_epochs=1)
        super().__init__({"adapt": few, "adapt-cpu": short})

    @classmethod
    def preset(cls, made: registry.Preset) -> Callable[[], dict[str, Hyperparameters]]:
        """The recipe of a table: hyperparameters by protocol.

        Raises:
            UsageError: a row has another name, type or range than ``Hyperparameters``.
        """
        try:
            rows = TypeAdapter(dict[str, Hyperparameters]).validate_python(dict(made.values))
        except ValidationError as error:
            raise UsageError(f"{made.file}: recipe {made.name!r}: {error}; correct it") from error
        return lambda: dict(rows)
