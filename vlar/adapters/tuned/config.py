"""The settings of a tuned CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.class_text import FROSTER
from vlar.adapters.settings import Settings, setting
from vlar.text.prompts import check_template_set

TEMPORAL = ("window", "adapter", "aim", "st-adapter", "cross-frame")


@dataclass(frozen=True)
class TunedConfig(Settings):
    """How frames see each other, and what is trained.

    Attributes:
        temporal: ``window``: a frame attends to its neighbours' tokens too (Open-VCLIP, arXiv
            2302.00624), no parameter is added. ``adapter``: a bottleneck parallel to the MLP of
            each frame (AdaptFormer, arXiv 2205.13535). ``aim``: attention runs along time too, with
            bottlenecks (arXiv 2302.03024). ``st-adapter``: a convolution over time (after arXiv
            2206.13559). ``cross-frame``: frames exchange a message token (X-CLIP, arXiv
            2208.02816).
        radius: Of the window: neighbours on each side; 0 leaves frames apart.
        tune_towers: Train a copy of both towers, saved with the adapter; else only what
            ``temporal`` adds.
        prompts: What a class is read as: ``froster`` (29 strings) or a template set.
        n_frames: T the model is trained with; any T works.
    """

    temporal: str = setting("window", choices=TEMPORAL)
    radius: int = setting(1, at_least=0, at_most=64)
    tune_towers: bool = True
    prompts: str = "froster"
    n_frames: int = setting(8, at_least=1, at_most=1024)

    what: ClassVar[str] = "setting of a tuned CLIP"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if self.prompts != FROSTER:
            check_template_set(self.prompts, f"{self.what} prompts")
