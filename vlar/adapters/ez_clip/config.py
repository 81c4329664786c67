"""The settings of EZ-CLIP; every one of them is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vlar.adapters.settings import Settings, setting
from vlar.text.prompts import check_template_set

Prompts = Literal["deep", "shallow", "none"]


@dataclass(frozen=True)
class EzClipConfig(Settings):
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
    n_frames: int = setting(8, at_least=1, at_most=1024)
    visual_hidden: int | None = setting(None, at_least=0, at_most=8192)
    text_hidden: int | None = setting(None, at_least=0, at_most=8192)
    time_adapters: bool = False
    mix_videos: bool = False
    temporal_embedding: bool = False
    motion_weight: float = setting(1.0, at_least=0)
    target_sharpness: float = setting(10.0, at_least=0)
    prompt_dropout: float = setting(0.0, at_least=0, below=1)
    drop: float = setting(0.0, at_least=0, below=1)
    templates: str = "plain"
    logit_scale: float = setting(100.0, above=0)

    what: ClassVar[str] = "EZ-CLIP setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        check_template_set(self.templates, f"{self.what} templates")

    def hidden(self, tower: Literal["visual", "text"], width: int) -> int:
        """Inner width of the adapters of a tower of a width; 0 where it has none."""
        chosen = self.visual_hidden if tower == "visual" else self.text_hidden
        return width // 4 if chosen is None else chosen
