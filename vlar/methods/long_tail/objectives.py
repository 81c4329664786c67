"""Losses, weights and mixes for labels with very different numbers of clips.

Letters: N clips, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.media.skeleton.layouts import layout, parts, root
from vlar.registry import register
from vlar.training.frame_inputs import JointInputs, joint_inputs
from vlar.training.objectives import Objective, Step, TrainingContext
from vlar.types import Float64

_BETAS = (0.99, 0.9999)  # of the rarest and of the most frequent label


def balanced_softmax(logits: Tensor, y: Tensor, counts: Tensor | Sequence[float]) -> Tensor:
    """Mean cross-entropy of ``logits + log counts``, so that rare labels are not pushed down.

    Source: Ren et al., "Balanced meta-softmax", 2020, equation 3. Equal counts give the plain
    cross-entropy.

    Args:
        logits: (N, C).
        y: (N,) int64 labels, or (N, C) shares.
        counts: (C,) clips of each label, above 0.

    Raises:
        UsageError: a label without a clip, or another number of labels.
    """
    number = torch.as_tensor(counts).to(logits)
    _check_counts(number.detach().cpu().double().numpy(), logits.shape[-1])
    shifted = logits + number.log()
    return F.cross_entropy(shifted, y if y.ndim == 1 else y.to(shifted))


def class_betas(counts: npt.ArrayLike) -> Float64:
    """(C,) one beta a label: .99 for the rarest, .9999 for the most frequent, straight between.

    Source: the action-aware loss of BRL, Liu et al., "Balanced representation learning for
    long-tailed skeleton-based action recognition", 2023.
    """
    number = _check_counts(counts)
    spread = float(number.max() - number.min())
    share = (number - number.min()) / spread if spread else np.zeros(len(number))
    return _BETAS[0] + (_BETAS[1] - _BETAS[0]) * share


def effective_number(counts: npt.ArrayLike, beta: npt.ArrayLike | None = None) -> Float64:
    """Weights of labels by the effective number of their clips, which sum to C.

    ``(1 - beta) / (1 - beta ** n)``; Cui et al., "Class-balanced loss", 2019, equation 2.

    Args:
        counts: (C,) clips of each label, above 0.
        beta: A number or (C,) numbers, from 0 to below 1; default ``class_betas``.

    >>> effective_number([1, 100], 0.99).round(6).tolist()
    [1.968943, 0.031057]
    """
    number = _check_counts(counts)
    base = class_betas(number) if beta is None else np.asarray(beta, np.float64)
    if not ((base >= 0) & (base < 1)).all():
        raise UsageError(f"beta is {beta}; give numbers from 0 to below 1")
    weight = (1.0 - base) / (1.0 - base**number)
    return weight / weight.sum() * len(number)


def remix_share(n_a: float, n_b: float, *, share: float = 0.64, ratio: float = 3.0) -> float:
    """Weight of label a in a clip mixed of clips of a and b; the rest is the weight of b.

    The much rarer label takes all: 0 where a has more than ``ratio`` times the clips of b, 1 where
    b has more than ``ratio`` times those of a, else ``share``. Source: Chou et al., "Remix", 2020,
    equation 5, as BRL uses it.

    Args:
        n_a: Clips of label a.
        n_b: Clips of label b.
        share: Share of a in the mixed clip, 0 to 1.
        ratio: Least ratio at which the rarer label takes the clip, at least 1.
    """
    if n_a > ratio * n_b:
        return 0.0
    return 1.0 if n_b > ratio * n_a else share


def part_mix(
    inputs: Tensor,
    partner: Tensor,
    y: Tensor,
    counts: Tensor | Sequence[float],
    *,
    share: float = 0.64,
    ratio: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """The beginning of each clip and the end of its partner, and what its own label weighs.

    BRL joins the upper body of one person and the lower body of another (``body_mix``). Features
    over time have no bodies, so time is what is cut. Every pair has a weight of its own, and no
    mixed clip is mixed again.

    Args:
        inputs: (N, T, ...) clips.
        partner: (N,) int64 the other clip of each.
        y: (N,) int64 labels.
        counts: (C,) clips of each label.
        share: Part of the time that a clip keeps, 0 to 1.
        ratio: See ``remix_share``.

    Returns:
        (N, T, ...) mixed clips and (N,) weights of their own labels in ``inputs``' number type.
    """
    cut = round(share * inputs.shape[1])
    mixed = torch.cat([inputs[:, :cut], inputs[partner][:, cut:]], dim=1)
    return mixed, inputs.new_tensor(_shares(partner, y, counts, share, ratio))


def _shares(
    partner: Tensor, y: Tensor, counts: Tensor | Sequence[float], share: float, ratio: float
) -> list[float]:
    """Weights of the own labels of N mixed clips."""
    number = torch.as_tensor(counts)[y].tolist()
    others = enumerate(partner.tolist())
    return [remix_share(number[a], number[b], share=share, ratio=ratio) for a, b in others]


def body_mix(joints: Tensor, partner: Tensor, upper: Tensor) -> Tensor:
    """The upper body of each clip on the lower body of its partner, bit for bit.

    Source: the part mixing of BRL. Every number of the joints stays; nothing changes in place.

    Args:
        joints: (N, ..., V, C).
        partner: (N,) int64 the other clip of each, or the joints of those clips.
        upper: (V,) bool, True for joints that a clip keeps.

    Raises:
        UsageError: ``upper`` is of another number of joints.
    """
    upper_mask = torch.as_tensor(upper, dtype=torch.bool, device=joints.device)
    if joints.ndim < 3 or upper_mask.shape != joints.shape[-2:-1]:
        raise UsageError(
            f"upper is of shape {tuple(upper_mask.shape)} and the joints of {tuple(joints.shape)}; "
            "give joints (N, ..., V, C) and V flags"
        )
    other = partner if partner.is_floating_point() else joints[partner]
    return torch.where(upper_mask[:, None], joints, other)


def upper_body(name: str) -> npt.NDArray[np.bool_]:
    """(V,) the joints of a layout above the hips: 16 of 25 of ``ntu25``, 11 of 20 of a Kinect v1.

    The root and the hips move with the legs.
    """
    lower = [*parts(name)["legs"], *parts(name)["feet"], root(name)]
    lower += [index for index, joint in enumerate(layout(name).joints) if joint.endswith("_hip")]
    return ~np.isin(np.arange(len(layout(name).joints)), lower)


def _check_counts(counts: npt.ArrayLike, labels: int | None = None) -> Float64:
    number = np.asarray(counts, np.float64)
    if number.ndim != 1 or not len(number) or (labels is not None and len(number) != labels):
        raise UsageError(f"counts of shape {number.shape}; give one number a label")
    if not (number > 0).all():
        raise UsageError(
            f"label {int(number.argmin())} has {number.min():g} clips; drop it or add one"
        )
    return number


@register("objective", "balanced-softmax", status="null here")
@dataclass
class BalancedSoftmax(Objective):
    """The loss of the method gives way to the cross-entropy of ``logits + log counts``.

    Ren et al., "Balanced meta-softmax", 2020, equation 3. The counts are those of the training set.
    With as many clips of every label it is the cross-entropy of the logits.

    Reference: Ren et al., "Balanced meta-softmax for long-tailed visual recognition", NeurIPS 2020,
    arXiv 2007.10740.
    Example: ``vlar adapt support/ --out mine --method temporal --objective balanced-softmax``.
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


@register("objective", "brl", status="in the spirit")
@dataclass
class BalancedRepresentation(Objective):
    """Some clips end like another one, which the rarer label takes; late, rare labels weigh more.

    Liu et al., "Balanced representation learning for long-tailed skeleton-based action
    recognition", 2023: rebalanced part mix, and the detached schedule with the action-aware loss.
    A tower that reads joints of bodies gets the upper body of one clip on the lower body of
    another; for other methods the time of a clip is cut. The cross-entropy takes the place of the
    method's own loss.

    Reference: Liu et al., "Balanced representation learning for long-tailed skeleton-based action
    recognition", 2023.
    Example: ``vlar adapt support/ --out mine --method temporal --objective brl``.

    Attributes:
        mixed: Share of the clips that also come mixed, 0 to 1.
        bodies: Whether bodies are mixed where the method reads joints; else time is cut.
        share: Part of the time that a mixed clip keeps, 0 to 1; of a body it follows from the
            joints.
        ratio: Numbers of clips further apart give the rarer label the whole mixed clip.
        detached: Share of the training after which labels are weighted, 0 to 1.
    """

    mixed: float = setting(0.0625, at_least=0, at_most=1)
    bodies: bool = True
    share: float = setting(0.64, at_least=0, at_most=1)
    ratio: float = setting(3.0, at_least=1)
    detached: float = setting(0.8, at_least=0, at_most=1)
    name: ClassVar[str] = "brl"
    _counts: list[float] = field(default_factory=list[float], init=False, repr=False)
    _weights: list[float] = field(default_factory=list[float], init=False, repr=False)
    _joints: JointInputs | None = field(default=None, init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Count the clips of each label.

        Raises:
            UsageError: a clip shows several labels, or a label has no clip.
        """
        self._counts = context.clips_per_label(self.name)
        self._weights = [float(weight) for weight in effective_number(self._counts)]
        inputs_of_joints = joint_inputs(context.method) if self.bodies else None
        self._joints = (
            inputs_of_joints
            if inputs_of_joints and layout(inputs_of_joints.layout).body == "body"
            else None
        )

    def base_weight(self, progress: float) -> float:
        """0: the terms take the place of the method's own loss."""
        return 0.0

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The cross-entropy of the labelled clips, and of a few mixed ones."""
        logits = step.batch.labelled(step.output.logits)
        if not len(logits):
            return {}
        y = step.batch.labelled(step.batch.targets).argmax(dim=1)
        weight = None
        if step.progress >= self.detached:
            weight = logits.new_tensor(self._weights)
        losses = {"cross_entropy": F.cross_entropy(logits, y, weight)}
        chosen = np.flatnonzero(step.random.random(len(y)) < self.mixed)
        if len(chosen) and len(y) > 1:
            losses["mixed"] = self._mixed(step, y, chosen, weight)
        return losses

    def _mixed(self, step: Step, y: Tensor, chosen: np.ndarray, weight: Tensor | None) -> Tensor:
        count = len(y)
        away = step.random.integers(1, count, len(chosen))  # never the clip itself
        partner = torch.arange(count)
        partner[chosen] = torch.from_numpy((chosen + away) % count)
        partner = partner.to(y.device)
        inputs = step.batch.labelled(step.batch.inputs)
        mixed, shares = self._joined(inputs, partner, y)
        rows = torch.from_numpy(chosen).to(y.device)
        logits, shares = step.forward(mixed[rows]).logits, shares[rows].to(y.device)
        first = F.cross_entropy(logits, y[rows], weight, reduction="none")
        second = F.cross_entropy(logits, y[partner[rows]], weight, reduction="none")
        return (shares * first + (1 - shares) * second).sum() / count

    def _joined(self, inputs: Tensor, partner: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed inputs (N, T, K) and the weights of their own labels (N,)."""
        if self._joints is None:
            how = {"share": self.share, "ratio": self.ratio}
            return part_mix(inputs, partner, y, self._counts, **how)
        upper = upper_body(self._joints.layout)
        joints = inputs[..., : math.prod(self._joints.shape)].unflatten(-1, self._joints.shape)
        mixed = body_mix(joints, partner, torch.from_numpy(upper)).flatten(-3)
        others = inputs[..., mixed.shape[-1] :]
        shares = _shares(partner, y, self._counts, float(upper.mean()), self.ratio)
        return torch.cat([mixed, others], dim=-1), inputs.new_tensor(shares)
