"""``atcon``: scales of a clip agree in features and in answers, on unlabelled clips of a domain.

Xu et al., ECCV 2022; information maximisation and centroids after SHOT, Liang et al. 2020.

Letters: N clips, n unlabelled clips, R scales, C labels, D joint width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.methods.atcon.adapter import LocalTemporal, confidence
from vlar.registry import register
from vlar.training.domain_losses import barlow, info_max
from vlar.training.objectives import Objective, Step, TrainingContext


def centroid_labels(vectors: Tensor, first: Tensor) -> Tensor:
    """Labels (n,) of vectors (n, D) by the nearest of C centroids, which begin as (C, D).

    Centroids are refined once, to the mean of their clips; one without clips stays.
    """
    nearest = (vectors @ F.normalize(first, dim=1).T).argmax(dim=1)
    memberships = F.one_hot(nearest, len(first)).to(vectors)
    means = torch.where(memberships.sum(dim=0)[:, None] > 0, memberships.T @ vectors, first)
    return (vectors @ F.normalize(means, dim=1).T).argmax(dim=1)


@register("objective", "atcon", status="null here")
@dataclass
class Atcon(Objective):
    """Temporal consistency on unlabelled clips; a weight of 0 leaves a term out.

    Reference: Xu et al., "Source-free video domain adaptation by learning temporal consistency for
    action recognition", ECCV 2022.
    Example: ``vlar adapt --model here --unlabelled more/ --method source-free --out there``.

    Attributes:
        information: Weight of information maximisation.
        centroids: Weight of the labels of the nearest centroids over all unlabelled clips.
        answers: Weight of the divergence of each scale's answer from the mean answer.
        video: Weight of the squared distance of the mean answer from the clip's.
        features: Weight of the cross-correlation of every two scales.
        sharpness: Sharpness of the confidence that weighs ``answers``.
        refresh: Epochs between two assignments of centroid labels.
        texts: Whether the texts of the labels start the centroids; else the answers do.
    """

    name: ClassVar[str] = "atcon"
    trains: ClassVar[str | None] = LocalTemporal.method
    needs_unlabelled: ClassVar[bool] = True
    other_domain: ClassVar[bool] = True
    information: float = setting(0.5, at_least=0)
    centroids: float = setting(0.2, at_least=0)
    answers: float = setting(1.8, at_least=0)
    video: float = setting(0.2, at_least=0)
    features: float = setting(0.01, at_least=0)
    sharpness: float = setting(10.0, above=0)
    refresh: int = setting(10, at_least=1)
    texts: bool = True

    @property
    def unlabelled_per_clip(self) -> float:
        return 1.0

    def begin(self, context: TrainingContext) -> None:
        if len(context.texts) < 2:
            raise UsageError(f"objective 'atcon' needs two labels, got {list(context.texts)}")
        self._method: Any = context.method  # a LocalTemporal
        self._context, self._turn, self._labels = context, -1, torch.zeros(0)

    def before_epoch(self, epoch: int) -> None:
        method, turn, clips = self._method, epoch // self.refresh, self._context.unlabelled
        if not self.centroids or clips is None or turn == self._turn:
            return
        method.module.eval()  # the statistics of norms stay
        pseudo_vectors, rows = clips.vectors()
        method.module.train()
        vectors = torch.from_numpy(pseudo_vectors)
        with torch.no_grad():
            first = method.network.concepts(self._context.classes)
        if not self.texts:
            first = (method.logit_scale * vectors @ first.T).softmax(dim=1).T @ vectors
        self._turn, self._labels = turn, torch.zeros(max(rows) + 1, dtype=torch.int64)
        self._labels[rows] = centroid_labels(vectors, first)

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The weighted terms over the unlabelled clips."""
        batch, method = step.batch, self._method
        output: Any = step.output
        if batch.known is None or batch.known.all():
            return {}
        free, losses = ~batch.known, dict[str, Tensor]()
        logits, scales = output.logits[free], output.frames[free]
        pooled_frames = method.split_inputs(batch.inputs[free])[1][:, 0]
        logits_per_scale = method.scale_logits(
            method.network.each(scales), pooled_frames, output.classes
        )
        mean = logits_per_scale.softmax(dim=2).mean(dim=1)
        if self.information:
            losses["information"] = self.information * info_max(logits)
        if self.centroids:
            labels = self._labels[list(batch.free_rows)]
            losses["centroids"] = self.centroids * F.cross_entropy(logits, labels)
        if self.answers:
            apart = mean.clamp(min=1e-12).log()[:, None] - logits_per_scale.log_softmax(dim=2)
            sure = confidence(logits_per_scale.detach(), self.sharpness)
            losses["answers"] = self.answers * (sure * (mean[:, None] * apart).sum(dim=2)).mean()
        if self.video:
            away = (logits.softmax(dim=1) - mean).square().sum(dim=1)
            losses["video"] = self.video * away.mean()
        if self.features:
            one, two = torch.triu_indices(scales.shape[1], scales.shape[1], 1)
            pairs = torch.vmap(barlow, in_dims=1)(scales[:, one], scales[:, two])
            losses["features"] = self.features * pairs.mean()
        return losses

    def state(self) -> dict[str, Any]:
        return {"turn": self._turn, "labels": self._labels}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._turn, self._labels = int(state["turn"]), state["labels"]
