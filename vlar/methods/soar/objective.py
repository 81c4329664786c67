"""``soar``: vectors that do not give the scene away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.methods.dear.objective import EvidenceScale, edl_loss
from vlar.registry import register
from vlar.training.domain_losses import ramp, reverse
from vlar.training.objectives import Objective, Step, TrainingContext
from vlar.types import Float32

_NONE = np.zeros((0, 0), np.float32)


@register("objective", "soar", status="null here")
@dataclass
class Soar(Objective):
    """An adversary predicts the scene from the vector behind a reversed gradient.

    Zhai et al., "SOAR: scene-debiasing open-set action recognition", 2023: evidence in place of the
    method's own loss, adversarial scene classification, and adversarial reconstruction of the
    background. The scene of a clip is the column ``scene`` of the support set. Without it, it is
    the probability of each of a list of places by the clip's vector and their names, in place of a
    scene network; a method that reads pixels takes the ``group``. The background is the median over
    time of the frames' features, where the source takes pixels; what moves most weighs least, where
    the source weighs by a map of uncertainty. Both adversaries start slowly, because a decoder
    behind a reversed gradient is unstable.

    Reference: Zhai et al., "SOAR: scene-debiasing open-set action recognition", ICCV 2023.
    Example: ``vlar adapt support/ --out mine --method temporal --objective soar``.

    Attributes:
        own: Factor on the method's own loss; the source has none of it.
        scene: Factor on the scene adversary.
        background: Factor on the reconstruction.
        strength: Strength of the reversed gradient of the reconstruction; the scene's is 1.
        column: The column that names the scene; empty for the order above.
        width: Hidden units of the adversaries.
    """

    own: float = setting(0.0, at_least=0)
    scene: float = setting(1.0, at_least=0)
    background: float = setting(1.0, at_least=0)
    strength: float = setting(0.2, at_least=0)
    column: str = ""
    width: int = setting(64, at_least=1, at_most=4096)
    name: ClassVar[str] = "soar"
    reads_scenes: ClassVar[bool] = True
    _scenes: Float32 = field(default_factory=lambda: _NONE, init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Find the scenes and build the adversaries.

        Raises:
            UsageError: a clip has no scene, or all have the same.
        """
        self._scenes = self._found(context)
        module = nn.Module()
        module.evidence = EvidenceScale(context.logit_scale)
        module.scene = _layers(context.vector_width, self.width, self._scenes.shape[1])
        module.decoder = _layers(context.vector_width, self.width, context.frame_width)
        self.module = module

    def _found(self, context: TrainingContext) -> Float32:
        """(n, S) the scenes of the clips: one of them each, or how likely each is."""
        column = self.column or ("scene" if all(_named(context.facts, "scene")) else "")
        if not column and context.scenes is not None:
            return context.scenes
        column = column or "group"
        named = _named(context.facts, column)
        places = list(dict.fromkeys(named))
        if len(places) < 2 or "" in places:
            raise UsageError(
                f"objective 'soar' needs a column {column!r} that names the scene of each clip, "
                "and two scenes at least; add it to the CSV of the support set, or set 'column'"
            )
        return np.eye(len(places), dtype=np.float32)[[places.index(name) for name in named]]

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """Evidence, the scene adversary and the reconstruction, over the labelled clips."""
        module, batch = self.module, step.batch
        if not batch.rows:
            return {}
        logits, targets = batch.labelled(step.output.logits), batch.labelled(batch.targets)
        targets = targets / targets.sum(dim=1, keepdim=True).clamp_min(1e-8)
        losses = {"evidence": edl_loss(module.evidence(logits), targets)}
        vectors = batch.labelled(step.vectors) * batch.labelled(step.vectors).shape[1] ** 0.5
        rise = ramp(step.progress)
        if self.scene:
            scenes = torch.from_numpy(self._scenes[list(batch.rows)]).to(vectors.device)
            told = module.scene(reverse(vectors, rise))
            losses["scene"] = self.scene * F.cross_entropy(told, scenes)
        if self.background:
            frames = batch.labelled(step.frames).detach()
            median = frames.median(dim=1).values
            moving = (frames - median[:, None]).abs().mean(dim=1)
            still = 1 / (1 + moving / moving.mean(dim=1, keepdim=True).clamp_min(1e-8))
            decoded = module.decoder(reverse(vectors, self.strength * rise))
            weight = still / still.mean(dim=1, keepdim=True)
            losses["background"] = self.background * (weight * (decoded - median).abs()).mean()
        return losses


def _named(facts: Sequence[Mapping[str, str]], column: str) -> list[str]:
    return [str(row.get(column, "")) for row in facts]


def _layers(entering: int, width: int, leaving: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(entering, width),
        nn.LeakyReLU(),
        nn.Linear(width, width),
        nn.LeakyReLU(),
        nn.Linear(width, leaving),
    )
