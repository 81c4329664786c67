"""Statistical dependence of two sets of features, and distance between two sets.

Letters: N clips, m and n features, M rows of another set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.methods.c2c.head import C2COutput
from vlar.registry import register
from vlar.training.objectives import Objective, Step, TrainingContext

_LEAST_ROWS = 4


def hsic_gaussian(
    a: Tensor, b: Tensor, *, sigma: float | None = None, biased: bool = True
) -> Tensor:
    """Hilbert-Schmidt independence criterion with Gaussian kernels; 0 for independent features.

    Biased: ``tr(K H L H) / (N - 1)^2``, Gretton et al., "Measuring statistical dependence with
    Hilbert-Schmidt norms", 2005, equation 9. Unbiased: Song et al., "Feature selection via
    dependence maximization", 2012, equation 5, with the diagonals of both kernels set to 0.

    Args:
        a: (N, m).
        b: (N, n).
        sigma: Width of both kernels; None takes the square root of each width.
        biased: Which of the two estimates.

    Raises:
        UsageError: other numbers of rows, or too few of them.
    """
    least = 2 if biased else 4
    if len(a) != len(b) or len(a) < least:
        raise UsageError(f"{len(a)} and {len(b)} rows; give as many of both, {least} at least")
    first, second = _kernel(a, a, sigma), _kernel(b, b, sigma)
    count = len(a)
    if biased:
        centred = first - first.mean(dim=0, keepdim=True)
        centred = centred - centred.mean(dim=1, keepdim=True)
        return (centred * second).sum() / (count - 1) ** 2
    apart = 1 - torch.eye(count, dtype=first.dtype, device=first.device)
    first, second = first * apart, second * apart
    both = (first * second).sum()
    means = first.sum() * second.sum() / ((count - 1) * (count - 2))
    crossed = (first.sum(dim=0) * second.sum(dim=0)).sum() * 2 / (count - 2)
    return (both + means - crossed) / (count * (count - 3))


def hsic(a: Tensor, b: Tensor, *, sigma: float = 20.0, ridge: float = 1e-5) -> Tensor:
    """Normalised dependence of two sets of features; 0 for independent ones, in float64.

    ``sum(R_a * R_b^T)`` with ``R = K H (K H + ridge N I)^-1`` and ``K = exp(-|a_i - a_j|^2 /
    (2 sigma^2 m))``, Fukumizu et al., "Kernel measures of conditional dependence", 2008, equation
    10, as C2C uses it.

    Args:
        a: (N, m).
        b: (N, n).
        sigma: Width of the kernels, in square roots of the number of features.
        ridge: Regularisation of the inverse.

    Raises:
        UsageError: other numbers of rows, or fewer than 4.
    """
    if len(a) != len(b) or len(a) < _LEAST_ROWS:
        raise UsageError(
            f"{len(a)} and {len(b)} rows; give as many of both, {_LEAST_ROWS} at least"
        )
    first, second = (_normalised(x.double(), sigma, ridge) for x in (a, b))
    return (first * second.T).sum()


def dependence_loss(
    frames_mean: Tensor,
    output: C2COutput,
    verb: Tensor,
    object: Tensor,  # noqa: A002 - the part of a label
    *,
    shared: int,
) -> Tensor:
    """Vectors of verbs and objects: dependent on their labels, else on as little as can be.

    Li et al., "C2C", 2024: the sum of ``I(x, w) - I(w, v) + I(x, u) - I(u, o) + I(w', u')`` with
    ``hsic`` as I, where x are the clips, w and u the vectors of verbs and of objects, v and o their
    labels, and w' and u' the first entries of w and u.

    Args:
        frames_mean: (B, d) mean of the frame features over time.
        output: Scores and vectors of the same clips.
        verb: (B,) int64.
        object: (B,) int64.
        shared: Number of entries of the last term.

    Raises:
        UsageError: fewer than 4 clips.
    """
    w, u = output.verb_vector, output.object_vector
    verbs = F.one_hot(verb, output.verb.shape[1])
    objects = F.one_hot(object, output.object.shape[1])
    of_verbs = hsic(frames_mean, w) - hsic(w, verbs)
    of_objects = hsic(frames_mean, u) - hsic(u, objects)
    return of_verbs + of_objects + hsic(w[:, :shared], u[:, :shared])


def _normalised(x: Tensor, sigma: float, ridge: float) -> Tensor:
    """R (N, N) of rows (N, m)."""
    count = len(x)
    kernel = _kernel(x, x, sigma * math.sqrt(x.shape[1]))
    centred = kernel - kernel.mean(dim=1, keepdim=True)
    whole = torch.eye(count, dtype=x.dtype, device=x.device) * (ridge * count)
    return torch.linalg.solve(centred + whole, centred, left=False)


def mmd(a: Tensor, b: Tensor, *, sigma: float | None = None) -> Tensor:
    """Squared maximum mean discrepancy of two sets of rows; 0 for equal sets.

    Gretton et al., "A kernel two-sample test", 2012, equation 5, with a Gaussian kernel.

    Args:
        a: (N, m).
        b: (M, m).
        sigma: Width of the kernel; None takes the square root of m.
    """
    if a.shape[-1] != b.shape[-1] or not len(a) or not len(b):
        raise UsageError(f"sets of shape {tuple(a.shape)} and {tuple(b.shape)}; give rows alike")
    own = _kernel(a, a, sigma).mean() + _kernel(b, b, sigma).mean()
    return own - 2 * _kernel(a, b, sigma).mean()


def _kernel(a: Tensor, b: Tensor, sigma: float | None) -> Tensor:
    """``exp(-|a_i - b_j|^2 / (2 sigma^2))``; differences keep a row's distance to itself at 0."""
    width = math.sqrt(a.shape[-1]) if sigma is None else sigma
    squares = (a[:, None] - b[None]).square().sum(dim=-1)
    return (-squares / (2 * width**2)).exp()


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
        total: Of the training, above 0.
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
        labels = len(context.texts)
        module = nn.Module()
        module.evidence = EvidenceScale(context.logit_scale)
        for branch, span in (("shuffled", 3), ("still", 1)):
            layers = nn.Conv1d(context.frame_width, self.width, span, padding=span // 2)
            module.add_module(branch, layers)
            module.add_module(f"{branch}_head", nn.Linear(self.width, labels))
        self._module = module

    def base_weight(self, progress: float) -> float:
        """Factor on the method's own loss; set by ``own``."""
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
