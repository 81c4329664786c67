"""``brl``: rare labels first share a representation, then weigh more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.adapters.settings import setting
from vlar.losses.longtail import effective_number, part_mix
from vlar.registry import register
from vlar.training.objectives.base import Objective, Step, TrainingContext

if TYPE_CHECKING:
    from torch import Tensor


@register("objective", "brl")
@dataclass
class BalancedRepresentation(Objective):
    """Some clips end like another one, which the rarer label takes; late, rare labels weigh more.

    Liu et al., "Balanced representation learning for long-tailed skeleton-based action
    recognition", 2023: rebalanced part mix, and the detached schedule with the action-aware loss.
    Bodies are cut in two there; here it is the time of a clip. The cross-entropy takes the place of
    the method's own loss.

    Attributes:
        mixed: Share of the clips that also come mixed, 0 to 1.
        share: Part of the time that a mixed clip keeps, 0 to 1.
        ratio: Numbers of clips further apart give the rarer label the whole mixed clip.
        detached: Share of the training after which labels are weighted, 0 to 1.
    """

    mixed: float = setting(0.0625, at_least=0, at_most=1)
    share: float = setting(0.64, at_least=0, at_most=1)
    ratio: float = setting(3.0, at_least=1)
    detached: float = setting(0.8, at_least=0, at_most=1)
    name: ClassVar[str] = "brl"
    _counts: list[float] = field(default_factory=list[float], init=False, repr=False)
    _weights: list[float] = field(default_factory=list[float], init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Count the clips of each label.

        Raises:
            UsageError: a clip shows several labels, or a label has no clip.
        """
        self._counts = context.clips_per_label(self.name)
        self._weights = [float(weight) for weight in effective_number(self._counts)]

    def base_weight(self, progress: float) -> float:
        """0: the terms take the place of the method's own loss."""
        return 0.0

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The cross-entropy of the labelled clips, and of a few mixed ones."""
        from torch.nn import functional as F  # noqa: N812 - the usual name

        logits = step.batch.labelled(step.output.logits)
        if not len(logits):
            return {}
        y = step.batch.labelled(step.batch.targets).argmax(dim=1)
        weight = None
        if step.progress >= self.detached:
            weight = logits.new_tensor(self._weights)
        found = {"cross_entropy": F.cross_entropy(logits, y, weight)}
        chosen = np.flatnonzero(step.random.random(len(y)) < self.mixed)
        if len(chosen) and len(y) > 1:
            found["mixed"] = self._mixed(step, y, chosen, weight)
        return found

    def _mixed(self, step: Step, y: Tensor, chosen: np.ndarray, weight: Tensor | None) -> Tensor:
        import torch
        from torch.nn import functional as F  # noqa: N812 - the usual name

        count = len(y)
        away = step.random.integers(1, count, len(chosen))  # never the clip itself
        partner = torch.arange(count)
        partner[chosen] = torch.from_numpy((chosen + away) % count)
        partner = partner.to(y.device)
        inputs = step.batch.labelled(step.batch.inputs)
        mixed, own = part_mix(inputs, partner, y, self._counts, share=self.share, ratio=self.ratio)
        rows = torch.from_numpy(chosen).to(y.device)
        logits, own = step.forward(mixed[rows]).logits, own[rows].to(y.device)
        first = F.cross_entropy(logits, y[rows], weight, reduction="none")
        second = F.cross_entropy(logits, y[partner[rows]], weight, reduction="none")
        return (own * first + (1 - own) * second).sum() / count
