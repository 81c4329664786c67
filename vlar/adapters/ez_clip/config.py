"""The settings of EZ-CLIP; every one of them is free."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from vlar.errors import ModelError
from vlar.registry import unknown_name
from vlar.types import JsonDict

Prompts = Literal["deep", "shallow", "none"]

_Rule = tuple[tuple[type, ...], Callable[[Any], bool], str]
_NUMBER, _COUNT = (int, float), (int, type(None))
_SWITCH: _Rule = ((bool,), lambda _: True, "true or false")
_HIDDEN: _Rule = (_COUNT, lambda n: n is None or n >= 0, "a whole number from 0, or None")
_WEIGHT: _Rule = (_NUMBER, lambda x: 0 <= x < math.inf, "a number from 0")
_SHARE: _Rule = (_NUMBER, lambda x: 0 <= x < 1, "a share from 0 and below 1")
_RULES: dict[str, _Rule] = {
    "prompts": ((str,), lambda p: p in get_args(Prompts), "'deep', 'shallow' or 'none'"),
    "n_frames": ((int,), lambda n: n >= 1, "a whole number from 1"),
    "visual_hidden": _HIDDEN,
    "text_hidden": _HIDDEN,
    "time_adapters": _SWITCH,
    "mix_videos": _SWITCH,
    "temporal_embedding": _SWITCH,
    "motion_weight": _WEIGHT,
    "target_sharpness": _WEIGHT,
    "prompt_dropout": _SHARE,
    "drop": _SHARE,
    "templates": ((str,), bool, "the name of a prompt set"),
    "logit_scale": (_NUMBER, lambda x: 0 < x < math.inf, "a number above 0"),
}


@dataclass(frozen=True)
class EzClipConfig:
    """How an EZ-CLIP is built and trained. The defaults are the paper's, but for the drops.

    Attributes:
        prompts: Temporal prompts in every image block (``deep``), in the first (``shallow``), or
            ``none``.
        n_frames: T, the rows of a prompt. With another number of frames the prompts are resampled
            along time; the original cannot.
        visual_hidden: Inner width of the image tower's adapters; None means a quarter of the
            tower's width, rounded down, and 0 leaves the adapters out.
        text_hidden: The same for the text tower.
        time_adapters: Attention along time per token position before each image block, through a
            bottleneck of its own (AIM, arXiv 2302.03024). The original has it without prompts.
        mix_videos: Add what that attention gives as the original does: its frames come time first,
            the tower's video first, so that the videos of a batch mix. For comparisons only.
        temporal_embedding: Room for a constant (T, D) that is added to the tokens of frame t. The
            original keeps it at zero.
        motion_weight: Of the motion loss; 0 leaves it out.
        target_sharpness: Factor of the label agreement before its softmax becomes the target.
        prompt_dropout: Share of the prompts' entries dropped in training; the original's is 0.1.
        drop: Share of attention weights and of whole residual branches dropped in training in the
            last block of a tower, rising from 0 in the first; the original's is 0.1.
        templates: Prompt set that labels are put into, in training (one drawn per label and step)
            as in use. ``plain`` is the text alone: the original's labels are descriptions.
        logit_scale: Factor from cosine to logit in use; training takes the CLIP's own.
    """

    prompts: Prompts = "deep"
    n_frames: int = 8
    visual_hidden: int | None = None
    text_hidden: int | None = None
    time_adapters: bool = False
    mix_videos: bool = False
    temporal_embedding: bool = False
    motion_weight: float = 1.0
    target_sharpness: float = 10.0
    prompt_dropout: float = 0.0
    drop: float = 0.0
    templates: str = "plain"
    logit_scale: float = 100.0

    def __post_init__(self) -> None:
        for name, (kinds, holds, wanted) in _RULES.items():
            value = getattr(self, name)
            strange = isinstance(value, bool) and bool not in kinds
            if strange or not isinstance(value, kinds) or not holds(value):
                raise ModelError(f"EZ-CLIP setting {name} is {value!r}; use {wanted}")

    def hidden(self, tower: Literal["visual", "text"], width: int) -> int:
        """Inner width of the adapters of a tower of a width; 0 where it has none."""
        chosen = self.visual_hidden if tower == "visual" else self.text_hidden
        return width // 4 if chosen is None else chosen

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> EzClipConfig:
        """From ``to_dict``.

        Raises:
            UnknownNameError: a setting does not exist; the message names the nearest.
            ModelError: a value is out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown_name("EZ-CLIP setting", name, known)
        return cls(**values)
