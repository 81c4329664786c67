"""``dear``: evidence, a calibrated uncertainty, and vectors without static shortcuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from vlar.adapters.settings import setting
from vlar.losses.dependence import hsic_gaussian
from vlar.losses.evidential import EvidenceScale, avu_loss, avu_weight, edl_loss
from vlar.registry import register
from vlar.training.objectives.base import Objective, Step, TrainingContext

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("objective", "dear")
@dataclass
class Dear(Objective):
    """The logits become evidence; unsure answers are learned; biased branches are kept apart.

    Bao et al., "Evidential deep learning for open set action recognition", 2021: the evidential
    loss (equation 4), accuracy versus uncertainty (7) and contrastive evidence debiasing (10). Two
    branches see no order: one frames in a drawn order, one each frame alone. The vectors of the
    method and those of the branches alternate: even steps make the branches depend on the vectors,
    odd steps make the vectors independent of the branches (HSIC). The branches are not part of the
    trained model. ``--unknown evidential`` reads the evidence afterwards.

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
    _module: nn.Module | None = field(default=None, init=False, repr=False)

    @property
    def module(self) -> nn.Module | None:
        """Factor and offset of the evidence, and the branches."""
        return self._module

    def begin(self, context: TrainingContext) -> None:
        """Build the branches for the features of the method."""
        from torch import nn

        labels = len(context.texts)
        module = nn.Module()
        module.evidence = EvidenceScale(context.logit_scale)
        for branch, span in (("shuffled", 3), ("still", 1)):
            layers = nn.Conv1d(context.frame_width, self.width, span, padding=span // 2)
            module.add_module(branch, layers)
            module.add_module(f"{branch}_head", nn.Linear(self.width, labels))
        self._module = module

    def base_weight(self, progress: float) -> float:
        """See ``own``."""
        return self.own

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The evidential losses and the dependence, over the labelled clips."""
        module = self._module
        assert module is not None
        batch = step.batch
        logits = batch.labelled(step.output.logits)
        if not len(logits):
            return {}
        targets = batch.labelled(batch.targets)
        targets = targets / targets.sum(dim=1, keepdim=True).clamp_min(1e-8)
        answer = targets.argmax(dim=1)
        evidence = module.get_submodule("evidence")(logits)
        found = {"evidence": edl_loss(evidence, targets)}
        if self.calibration:
            weight = avu_weight(step.progress, 1.0)
            found["calibration"] = self.calibration * avu_loss(evidence, answer, weight=weight)
        if self.debias:
            frames, vectors = batch.labelled(step.frames), batch.labelled(step.vectors)
            found |= self._debiased(step, frames.detach(), vectors, targets)
        return found

    def _debiased(
        self, step: Step, frames: Tensor, vectors: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        import torch

        order = torch.from_numpy(step.random.permutation(frames.shape[1]))
        seen = {"shuffled": frames[:, order.to(frames.device)], "still": frames}
        found: dict[str, Tensor] = {}
        for branch, x in seen.items():
            assert self._module is not None
            convolution = self._module.get_submodule(branch)
            biased = convolution(x.transpose(1, 2)).relu().mean(dim=2)
            logits = self._module.get_submodule(f"{branch}_head")(biased)
            found[branch] = self.debias * edl_loss(logits, targets)
            if len(biased) < 2:
                continue
            if step.number % 2:
                dependence = hsic_gaussian(vectors.float(), biased.detach().float())
            else:
                dependence = -hsic_gaussian(vectors.detach().float(), biased.float())
            found[f"{branch}_dependence"] = self.debias * dependence
        return found
