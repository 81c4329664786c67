"""``frame-contrast``: frames of a clip against each other, after EventTransAct (2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.registry import register
from vlar.training.data import ClipView
from vlar.training.objectives import Objective, Step

_VIEW = "unmoved"


def frame_contrast(a: Tensor, b: Tensor, temperature: float, stride: int = 1) -> Tensor:
    """NT-Xent within a clip: equal times of two views are alike, other times of the clip are not.

    Each of the 2T frames of a clip is compared with all others of the same clip; frames of other
    clips do not enter. Lengths of the vectors make no difference.

    Args:
        a: (N, T, D) frames of one view.
        b: (N, T, D) frames of the other.
        temperature: Above 0.
        stride: Distance of the frames that are compared, from the first.

    Returns:
        The mean over frames and clips.
    """
    both = F.normalize(torch.cat([a[:, ::stride], b[:, ::stride]], dim=1), dim=-1)
    count = both.shape[1]
    logits = both @ both.transpose(1, 2) / temperature
    logits = logits.masked_fill(torch.eye(count, dtype=torch.bool, device=a.device), -torch.inf)
    twin = torch.arange(count, device=a.device).roll(count // 2)
    return F.cross_entropy(logits.flatten(0, 1), twin.repeat(len(both)))


@register("objective", "frame-contrast", status="null here")
@dataclass
class FrameContrast(Objective):
    """Frames of two changed views of a clip are matched by their time.

    The changes are the method's own draws (dropped events, dropout). A method without features of
    frames gives the vectors of single frames instead, so any sensor can be trained with it.

    Reference: EventTransAct, 2023.
    Example: ``vlar adapt events/ --model events --out mine --method event-tower --objective
    frame-contrast``.

    Attributes:
        weight: Factor on the term.
        temperature: Temperature of the contrast, above 0.
        stride: Distance of the frames that are compared; near ones look alike.
    """

    weight: float = setting(1.0, at_least=0)
    temperature: float = setting(0.1, above=0)
    stride: int = setting(4, at_least=1)
    name: ClassVar[str] = "frame-contrast"

    def views(self) -> Mapping[str, ClipView]:
        """The clip with its times as they are: equal frames of both views are of equal times."""
        return {_VIEW: ClipView({"time_jitter": 0.0, "block_dropout": 0.0})}

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The weighted term.

        Raises:
            UsageError: fewer than two frames are left to compare.
        """
        one, other = (self._frames(step) for _ in range(2))
        if one.shape[1] < 2:
            raise UsageError(
                f"objective {self.name!r} compares times of a clip, and the method gives one frame "
                f"at stride {self.stride}; use a smaller stride, or a method that reads frames"
            )
        # They are strided already.
        return {"times": self.weight * frame_contrast(one, other, self.temperature)}

    def _frames(self, step: Step) -> Tensor:
        """(N, T, D) frames of a view, every ``stride``th."""
        clips = step.batch.views[_VIEW]
        if step.output.frames is not None:
            frames = step.forward(clips).frames
            assert frames is not None
            return frames[:, :: self.stride]
        alone = clips[:, :: self.stride]
        vectors = step.forward(alone.flatten(0, 1).unsqueeze(1)).vectors
        if vectors is None:
            return step.vectors  # raises the error that names the cause
        return vectors.unflatten(0, alone.shape[:2])
