"""``balanced-softmax``: labels with few clips are learned as if all were as frequent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from vlar.losses.longtail import balanced_softmax
from vlar.registry import register
from vlar.training.objectives.base import Objective, Step, TrainingContext

if TYPE_CHECKING:
    from torch import Tensor


@register("objective", "balanced-softmax")
@dataclass
class BalancedSoftmax(Objective):
    """The loss of the method gives way to the cross-entropy of ``logits + log counts``.

    Ren et al., "Balanced meta-softmax", 2020, equation 3. The counts are those of the training set.
    With as many clips of every label it is the cross-entropy of the logits.
    """

    name: ClassVar[str] = "balanced-softmax"
    _counts: list[float] = field(default_factory=list[float], init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Count the clips of each label.

        Raises:
            UsageError: a clip shows several labels, or a label has no clip.
        """
        self._counts = context.clips_per_label(self.name)

    def base_weight(self, progress: float) -> float:
        """0: the term takes the place of the method's own loss."""
        return 0.0

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The balanced cross-entropy of the labelled clips."""
        logits = step.batch.labelled(step.output.logits)
        targets = step.batch.labelled(step.batch.targets)
        if not len(logits):
            return {}
        return {"cross_entropy": balanced_softmax(logits, targets, self._counts)}
