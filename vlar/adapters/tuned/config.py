"""The settings of a tuned CLIP."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.adapters.settings import read_settings
from vlar.errors import ModelError
from vlar.registry import unknown_name
from vlar.types import JsonDict

TEMPORAL = ("window", "adapter", "aim", "st-adapter", "cross-frame")


@dataclass(frozen=True)
class TunedConfig:
    """How frames see each other, and what is trained.

    Attributes:
        temporal: ``window``: a frame attends to its neighbours' tokens too (Open-VCLIP, arXiv
            2302.00624), no parameter is added. ``adapter``: a bottleneck beside the MLP, frames
            apart (AdaptFormer, arXiv 2205.13535). ``aim``: the attention is used along time too,
            with bottlenecks (arXiv 2302.03024). ``st-adapter``: a convolution over time (after
            arXiv 2206.13559). ``cross-frame``: frames exchange a message token (X-CLIP, arXiv
            2208.02816).
        radius: Of the window: neighbours on each side; 0 leaves frames apart.
        tune_towers: Train a copy of both towers, saved with the adapter; else only what
            ``temporal`` adds.
        prompts: What a class is read as: ``froster`` (29 strings) or a template set.
        n_frames: T the model is trained with; any T works.
    """

    temporal: str = "window"
    radius: int = 1
    tune_towers: bool = True
    prompts: str = "froster"
    n_frames: int = 8

    def __post_init__(self) -> None:
        if self.temporal not in TEMPORAL:
            raise unknown_name("value of setting 'temporal'", str(self.temporal), TEMPORAL)
        for name, least in (("radius", 0), ("n_frames", 1)):
            value = getattr(self, name)
            if value < least:
                raise ModelError(f"setting {name} is {value!r}; use a whole number from {least}")

    def to_dict(self) -> JsonDict:
        """For the manifest of a saved model."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> TunedConfig:
        """From ``to_dict``; see ``read_settings``."""
        return read_settings(cls, values, "setting of a tuned CLIP")
