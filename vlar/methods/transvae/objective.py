"""``transvae``: what latents share is taken apart by domain.

Letters: N clips, G segments, S and Z widths of the static and of a dynamic latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.methods.consistency.objective import pseudo_label_loss
from vlar.methods.transvae.adapter import Latents
from vlar.registry import register
from vlar.training.domain_losses import kl_gaussian, ramp, reverse
from vlar.training.objectives import Objective, Step, TrainingContext

_REVERSED = {"frames": 0.5, "relations": 0.75, "clips": 0.75}  # strength at the end
_HIDDEN = 64
_SURE, _STARTS = 0.95, 0.3  # probability of a sure answer, share of the training before they count


def log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log densities (N, N, ...) of rows x (N, ..., F) under each other's normal distributions."""
    precision = (-log_variance).exp()  # by products of matrices: 40 times as fast as differences
    apart = torch.einsum("i...f,j...f->ij...", x.square(), precision)
    apart = apart - 2 * torch.einsum("i...f,j...f->ij...", x, mean * precision)
    energy = mean.square() * precision + log_variance + math.log(2 * math.pi)
    return -0.5 * (apart + energy.sum(dim=-1))


def mutual_information(found: Latents) -> Tensor:
    """``relu(log q(d, t) - log q(d) - log q(t))`` by the densities of a batch; the mean over t."""
    d = log_density(found.static, found.static, found.static_variance)[..., None]
    t = log_density(found.dynamic, found.dynamic, found.dynamic_variance)
    both, one, other = ((x.logsumexp(dim=1) - math.log(len(x))) for x in (d + t, d, t))
    return (both - one - other).mean(dim=0).relu().mean()


@register("objective", "transvae", status="null here")
@dataclass
class DomainsApart(Objective):
    """Labelled clips of one domain and unlabelled ones of another train a ``transvae`` together.

    TranSVAE (Wei et al. 2023): an autoencoder with a learned prior; little mutual information of
    static and dynamic latents; the static latent is the same for shuffled frames and another for
    the other domain; the dynamic ones, their relations and their mean do not give the domain away,
    behind a reversed gradient; sure answers are labels of unlabelled clips later on. One set of
    factors is for all pairs: the source's for HMDB to UCF, but for the adversary. The domain of a
    clip is the column ``domain``; without it labelled and unlabelled clips are two.

    Reference: Wei et al., "Unsupervised video domain adaptation for action recognition: a
    disentanglement perspective" (TranSVAE), NeurIPS 2023.
    Example: ``vlar adapt support/ --unlabelled more/ --out moved --method transvae --objective
    transvae``.

    Attributes:
        rebuild: Factor on reconstruction and priors.
        information: Factor on the mutual information.
        triplet: Factor on the static latent's distances.
        adversary: Factor on the domain classifiers.
    """

    rebuild: float = setting(1.0, at_least=0)
    information: float = setting(0.5, at_least=0)
    triplet: float = setting(10.0, at_least=0)
    adversary: float = setting(1.0, at_least=0)
    name: ClassVar[str] = "transvae"
    trains: ClassVar[str | None] = "transvae"
    needs_unlabelled: ClassVar[bool] = True
    other_domain: ClassVar[bool] = True
    _method: Any = field(default=None, init=False, repr=False)
    _domains: list[Tensor] = field(default_factory=list[Tensor], init=False, repr=False)

    @property
    def unlabelled_per_clip(self) -> float:
        """One for each labelled clip."""
        return 1.0

    def begin(self, context: TrainingContext) -> None:
        """Read the domains and build their classifiers; one domain alone is refused."""
        free = context.unlabelled.facts if context.unlabelled else ()
        free = free or [{}] * context.n_unlabelled
        named = [
            [facts.get("domain", "labelled") for facts in context.facts],
            [facts.get("domain", "unlabelled") for facts in free],
        ]
        names = sorted({name for part in named for name in part})
        if len(names) < 2:
            raise UsageError(
                f"objective 'transvae' takes two domains apart, and all clips are of one "
                f"({names[0]!r}); give unlabelled clips of another, or correct the column 'domain'"
            )
        self._domains = [torch.tensor([names.index(name) for name in part]) for part in named]
        self._method, self.module = context.method, nn.ModuleDict()
        widths = (self._method.config.dynamic, *[self._method.config.width] * 2)
        for part, width in zip(_REVERSED, widths, strict=True):
            self.module[part] = nn.Sequential(
                nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(names))
            )

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The six terms, over labelled and unlabelled clips."""
        batch, network = step.batch, self._method.network
        moments = network.moments(self._method.split_inputs(batch.inputs)[0])
        latents: Latents = network.latents(moments)
        both = zip(self._domains, (batch.rows, batch.free_rows), strict=True)
        domain = torch.cat([latent[list(rows)] for latent, rows in both]).to(moments.device)
        error = (
            (network.decode(latents.static, latents.dynamic) - moments).square().sum((1, 2)).mean()
        )
        zero = torch.zeros_like(latents.static)
        static = kl_gaussian(latents.static, latents.static_variance, zero, zero)
        dynamic = kl_gaussian(*latents[2:]) * moments.shape[1]
        losses = {
            "rebuild": self.rebuild * (error + static + dynamic),
            "information": self.information * mutual_information(latents),
        }
        relations = network.relations(latents.dynamic)
        strength, rows = ramp(step.progress), (latents.dynamic, relations, relations.mean(dim=1))
        for x, (part, beta) in zip(rows, _REVERSED.items(), strict=True):
            told = self.module[part](reverse(x, beta * strength)).flatten(0, -2)
            domains = domain.repeat_interleave(len(told) // len(domain))
            losses[part] = self.adversary * F.cross_entropy(told, domains)
        order = torch.from_numpy(step.random.permutation(moments.shape[1]))
        other = [np.flatnonzero((domain != mine).cpu().numpy()) for mine in domain]
        if all(map(len, other)):
            picked = [int(step.random.choice(rows)) for rows in other]
            same = network.latents(moments[:, order.to(moments.device)]).static
            near = F.triplet_margin_loss(latents.static, same, latents.static[picked], margin=1.0)
            losses["triplet"] = self.triplet * near
        if step.progress >= _STARTS and batch.known is not None:
            free = step.output.logits[~batch.known]
            losses["pseudo_label"] = pseudo_label_loss(free, free, threshold=_SURE)[0]
        return losses
