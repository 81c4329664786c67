"""``consistency``: pseudo-labels of unlabelled clips, after FixMatch (arXiv 2001.07685)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.registry import register
from vlar.training.data import ClipView
from vlar.training.objectives import Objective, Step


def pseudo_label_loss(
    weak: Tensor, strong: Tensor, *, threshold: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the strong view against confident labels of the weak one (FixMatch).

    ``mean over clips of [max softmax(weak) >= threshold] * CE(strong, argmax weak)``; equation 4
    of Sohn et al. 2020, arXiv 2001.07685. The mean counts every clip, so the loss is small while
    few clips are confident. No gradient reaches ``weak``.

    Args:
        weak: (N, C) logits.
        strong: (N, C) logits of the same clips.
        threshold: Least probability of a label that counts, 0 to 1.

    Returns:
        The loss, and the (N,) bool mask of the clips that count.
    """
    if not len(weak):
        return strong.sum() * 0.0, weak.new_zeros(0).bool()
    confidence, label = weak.detach().softmax(dim=-1).max(dim=-1)
    counts = confidence >= threshold
    losses = F.cross_entropy(strong, label, reduction="none")
    return (losses * counts).mean(), counts


@register("objective", "consistency", status="null here")
@dataclass
class Consistency(Objective):
    """A confident answer on an unlabelled clip becomes the target of a stronger view of it.

    ``weight * mean over unlabelled clips of [max p >= threshold] * CE(strong view, argmax p)``,
    where p is the softmax of the logits of the training's own view, without gradient (equation 4 of
    the paper). On features, the strong view moves times further and zeroes blocks more often.

    Reference: Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and
    confidence", NeurIPS 2020, arXiv 2001.07685.
    Example: ``vlar adapt support/ --unlabelled more/ --out mine --objective consistency``.

    Attributes:
        threshold: Least probability of a label that counts, 0 to 1.
        weight: Factor on the term.
        ratio: Unlabelled clips in a batch for each labelled one.
        warmup: Share of the training in which the weight rises from 0, 0 to 1.
    """

    threshold: float = setting(0.95, at_least=0, at_most=1)
    weight: float = setting(1.0, at_least=0)
    ratio: float = setting(1.0, above=0)
    warmup: float = setting(0.1, at_least=0, at_most=1)
    name: ClassVar[str] = "consistency"
    needs_unlabelled: ClassVar[bool] = True

    def views(self) -> Mapping[str, ClipView]:
        """The strong view: a smaller crop, always other colours, times moved further."""
        stronger = {"crop": 0.25, "colour": 1.0, "grey": 0.4, "time_jitter": 0.4}
        return {"strong": ClipView({**stronger, "block_dropout": 0.5})}

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The weighted term."""
        if step.batch.known is None:
            return {}
        free = ~step.batch.known
        if not bool(free.any()):
            return {}
        strong = step.forward(step.batch.views["strong"][free]).logits
        loss, _ = pseudo_label_loss(step.output.logits[free], strong, threshold=self.threshold)
        rise = min(1.0, step.progress / self.warmup) if self.warmup else 1.0
        return {"pseudo_label": self.weight * rise * loss}
