"""The settings of TC-CLIP; every one of them is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vlar.adapters.settings import Settings, bad_setting, setting


@dataclass(frozen=True)
class TcClipConfig(Settings):
    """How a TC-CLIP is built. The defaults are the paper's (ECCV 2024, arXiv 2404.09490).

    Attributes:
        seed_fraction: Share of a frame's patches that become seeds, rounded down.
        context_tokens: Target number of context tokens per video.
        merge_step: Tokens removed by one merging step.
        n_prompts: Learnable prompt vectors in front of the label.
        prompt_phrase: Words they start from.
        prompt_levels: Text blocks that are preceded by video-conditional prompting, counted from
            1; empty means the last block only. Level j reads the context of vision block j.
        stop_gradient: No gradient from the text side to the vision tower.
        max_tokens: Longest prompt in tokens; None means the text tower's own limit.
        split_capitals: Put a blank before every capital letter of a label (``ApplyEyeMakeup``),
            as the original does on every data set.
        n_frames: T the model was trained with; any T works.
        tune_towers: Work on a copy of the towers that is trained and saved with the adapter, as the
            original does; else the towers stay as they are and only the added parts train.
    """

    seed_fraction: float = setting(0.3, above=0, at_most=1)
    context_tokens: int = setting(96, at_least=1, at_most=65536)
    merge_step: int = setting(100, at_least=1, at_most=65536)
    n_prompts: int = setting(4, at_least=1, at_most=1024)
    prompt_phrase: str = "a photo of a"
    prompt_levels: tuple[int, ...] = ()
    stop_gradient: bool = True
    max_tokens: int | None = setting(None, at_least=1, at_most=65536)
    split_capitals: bool = True
    n_frames: int = setting(16, at_least=1, at_most=1024)
    tune_towers: bool = False

    what: ClassVar[str] = "TC-CLIP setting"

    def check(self) -> None:
        """Refuse values that do not go together."""
        if any(level < 1 for level in self.prompt_levels):
            raise bad_setting(
                self.what, "prompt_levels", self.prompt_levels, "levels counted from 1"
            )

    def levels(self, text_blocks: int, vision_blocks: int) -> tuple[int, ...]:
        """Zero-based text blocks that are preceded by prompting, ascending.

        Raises:
            ModelError: a tower has no block of that level.
        """
        levels = sorted(set(self.prompt_levels)) or [text_blocks]
        highest = min(text_blocks, vision_blocks)
        if levels[-1] > highest:
            wanted = f"levels up to {highest}, the depth of the towers"
            raise bad_setting(self.what, "prompt_levels", tuple(levels), wanted)
        return tuple(level - 1 for level in levels)
