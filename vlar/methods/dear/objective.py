"""``dear``: logits become evidence, and biased branches are kept apart (Bao et al., ICCV 2021).

Letters: N clips, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vlar.adapters.settings import setting
from vlar.methods.dear.dependence import hsic_gaussian
from vlar.registry import register
from vlar.training.objectives import Objective, Step, TrainingContext

_LARGEST = 10.0  # of a logit before exp
_FIRST_WEIGHT = 0.01
_SMALLEST = 1e-10


def evidence(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dirichlet parameters, expected probabilities and vacuity.

    Args:
        logits: (N, C).

    Returns:
        ``alpha = exp(clip(logits, -10, 10)) + 1`` (N, C), ``alpha / S`` (N, C) and the vacuity
        ``C / S`` (N,) in (0, 1], with S the sum of alpha.
    """
    alpha = logits.clamp(-_LARGEST, _LARGEST).exp() + 1.0
    total = alpha.sum(dim=-1, keepdim=True)
    return alpha, alpha / total, logits.shape[-1] / total[..., 0]


class EvidenceScale(nn.Module):
    """A learned factor and offset from logits to evidence.

    ``exp`` of logits with a scale such as CLIP's 100 is useless: all are clipped.

    Args:
        logit_scale: Factor from cosine to logit; a cosine of 1 starts as the largest evidence.
    """

    def __init__(self, logit_scale: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(math.log(_LARGEST / logit_scale)))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """(N, C) to (N, C)."""
        return self.factor.exp() * logits + self.offset


def edl_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips of ``sum_k y_k (log S - log alpha_k)``; equation 4 of the source.

    Args:
        logits: (N, C).
        targets: (N, C) shares of the labels; a row sums to 1.
    """
    alpha, _, _ = evidence(logits)
    losses = targets.to(alpha) * (alpha.sum(dim=-1, keepdim=True).log() - alpha.log())
    return losses.sum(dim=-1).mean()


def avu_weight(step: float, total: float) -> float:
    """Weight of right clips in ``avu_loss``: .01 at the start, 1 at the end, exponential between.

    Args:
        step: Steps or epochs that are over.
        total: Steps or epochs of the training, above 0.
    """
    return _FIRST_WEIGHT * math.exp(-math.log(_FIRST_WEIGHT) * step / total)


def avu_loss(logits: Tensor, y: Tensor, *, weight: float) -> Tensor:
    """Accuracy versus uncertainty: right clips should be sure, wrong ones unsure; equation 7.

    ``-weight * a * p * log(1 - u) - (1 - weight) * (1 - a) * (1 - p) * log u``, the mean over
    clips, with a = 1 where the best label is right, p its probability, u the vacuity.

    Args:
        logits: (N, C).
        y: (N,) int64 labels.
        weight: ``avu_weight``, 0 to 1.
    """
    _, probability, vacuity = evidence(logits)
    best, answer = probability.max(dim=-1)
    right = (answer == y).to(best)
    sure = (1.0 - vacuity).clamp_min(_SMALLEST).log()
    unsure = vacuity.clamp_min(_SMALLEST).log()
    losses = -weight * right * best * sure - (1 - weight) * (1 - right) * (1 - best) * unsure
    return losses.mean()


@register("objective", "dear", status="null here")
@dataclass
class Dear(Objective):
    """The logits become evidence; unsure answers are learned; biased branches are kept apart.

    Bao et al., "Evidential deep learning for open set action recognition", 2021: the evidential
    loss (equation 4), accuracy versus uncertainty (7) and contrastive evidence debiasing (10). Two
    branches receive no order: one frames in a drawn order, one each frame alone. The vectors of the
    method and those of the branches alternate: even steps make the branches depend on the vectors,
    odd steps make the vectors independent of the branches (HSIC). The branches are not part of the
    trained model. ``--unknown evidential`` reads the evidence afterwards.

    Reference: Bao, Yu and Kong, "Evidential deep learning for open set action recognition", ICCV
    2021, arXiv 2107.10161.
    Example: ``vlar adapt support/ --out mine --method temporal --objective dear``.

    Attributes:
        own: Factor on the method's own loss; the source has none of it.
        calibration: Factor on the accuracy versus uncertainty loss.
        debias: Factor on the losses of the branches and on the dependence.
        width: Features of a branch.
    """

    own: float = setting(0.0, at_least=0)
    calibration: float = setting(1.0, at_least=0)
    debias: float = setting(0.1, at_least=0)
    width: int = setting(64, at_least=1, at_most=4096)
    name: ClassVar[str] = "dear"

    def begin(self, context: TrainingContext) -> None:
        """Build the branches for the features of the method."""
        labels = len(context.texts)
        module = nn.Module()
        module.evidence = EvidenceScale(context.logit_scale)
        for branch, span in (("shuffled", 3), ("still", 1)):
            layers = nn.Conv1d(context.frame_width, self.width, span, padding=span // 2)
            module.add_module(branch, layers)
            module.add_module(f"{branch}_head", nn.Linear(self.width, labels))
        self.module = module

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The evidential losses and the dependence, over the labelled clips."""
        module = self.module
        batch = step.batch
        logits = batch.labelled(step.output.logits)
        if not len(logits):
            return {}
        targets = batch.labelled(batch.targets)
        targets = targets / targets.sum(dim=1, keepdim=True).clamp_min(1e-8)
        answer = targets.argmax(dim=1)
        evidence = module.evidence(logits)
        losses = {"evidence": edl_loss(evidence, targets)}
        if self.calibration:
            weight = avu_weight(step.progress, 1.0)
            losses["calibration"] = self.calibration * avu_loss(evidence, answer, weight=weight)
        if self.debias:
            frames, vectors = batch.labelled(step.frames), batch.labelled(step.vectors)
            losses |= self._debiased(step, frames.detach(), vectors, targets)
        return losses

    def _debiased(
        self, step: Step, frames: Tensor, vectors: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        order = torch.from_numpy(step.random.permutation(frames.shape[1]))
        variants = {"shuffled": frames[:, order.to(frames.device)], "still": frames}
        losses: dict[str, Tensor] = {}
        for branch, x in variants.items():
            convolution = self.module.get_submodule(branch)
            biased = convolution(x.transpose(1, 2)).relu().mean(dim=2)
            logits = self.module.get_submodule(f"{branch}_head")(biased)
            losses[branch] = self.debias * edl_loss(logits, targets)
            if len(biased) < 2:
                continue
            if step.number % 2:
                dependence = hsic_gaussian(vectors.float(), biased.detach().float())
            else:
                dependence = -hsic_gaussian(vectors.detach().float(), biased.float())
            losses[f"{branch}_dependence"] = self.debias * dependence
        return losses
