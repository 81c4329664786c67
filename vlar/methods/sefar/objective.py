"""``sefar``: unlabelled clips of fine-grained actions, weighted by how sure a teacher is."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlar.adapters.settings import setting
from vlar.registry import register
from vlar.training.data import ClipView, Random
from vlar.training.objectives import Objective, Step, TrainingContext

_STRONGER = {"crop": 0.25, "colour": 1.0, "grey": 0.4}
_DROPPED = 0.2  # share of the channels that the strong view sets to zero
_BETA = 10.0  # of the mixing share's distribution


def regulation(p: float | Tensor, s: float | Tensor) -> Any:
    """Weight of a pseudo-label from the teacher's probability and its spread, 0 to 1.

    ``2 sig(e^p - e) * 2 (sig(1 / (20 s + 1e-9)) - 1/2)``; Huang et al., "SeFAR", 2025, equation 6.

    Args:
        p: Mean probability of the answer over the passes, 0 to 1; a number or (N,).
        s: Its standard deviation over them, at least 0.

    >>> round(regulation(0.5, 0.1), 6)
    0.125147
    """
    probability, spread = torch.as_tensor(p).double(), torch.as_tensor(s).double()
    sure = 2 * (probability.exp() - math.e).sigmoid()
    steady = 2 * ((1 / (20 * spread + 1e-9)).sigmoid() - 0.5)
    weight = sure * steady
    return weight if isinstance(p, torch.Tensor) else float(weight)


@register("objective", "sefar", status="null here")
@dataclass
class Sefar(Objective):
    """A slow teacher labels unlabelled clips; the student receives them with moments turned round.

    Huang et al., "SeFAR: semi-supervised fine-grained action recognition with temporal perturbation
    and learning stabilization", 2025. The strong view reverses time inside two pairs of
    neighbouring frames, keeps the order of all others and zeroes a fifth of the channels. The
    teacher is a moving average of the weights; dropout stays on in its passes. A second term mixes
    two clips in parts that are the same in all frames. Its target is compared with the student's
    probabilities, where the released code compares raw logits with probabilities.

    Reversing a moment changes the label of a clip where labels differ by direction alone (open,
    close): then set ``reverse`` to false.

    Reference: Huang et al., "SeFAR: semi-supervised fine-grained action recognition with temporal
    perturbation and learning stabilization", AAAI 2025.
    Example: ``vlar adapt support/ --unlabelled more/ --out mine --objective sefar``.

    Attributes:
        weight: Factor on the pseudo-label term.
        mix: Factor on the mixing term.
        ratio: Unlabelled clips in a batch for each labelled one.
        warmup: Share of the training without unlabelled clips, 0 to below 1.
        average: Part of the teacher that a step keeps, 0 to below 1.
        passes: Passes of the teacher through each clip.
        reverse: Whether the strong view turns moments round.
    """

    weight: float = setting(2.0, at_least=0)
    mix: float = setting(2.0, at_least=0)
    ratio: float = setting(1.0, above=0)
    warmup: float = setting(0.15, at_least=0, below=1)
    average: float = setting(0.99, at_least=0, below=1)
    passes: int = setting(5, at_least=2, at_most=100)
    reverse: bool = True
    name: ClassVar[str] = "sefar"
    needs_unlabelled: ClassVar[bool] = True
    _named: list[tuple[str, nn.Parameter]] = field(default_factory=list, init=False, repr=False)
    _teacher: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def views(self) -> Mapping[str, ClipView]:
        """The strong view."""
        return {"strong": ClipView(_STRONGER, self._perturbed)}

    def begin(self, context: TrainingContext) -> None:
        """The teacher starts as the student."""
        self._named = list(context.method.trainable())
        self._teacher = {name: p.detach().clone() for name, p in self._named}

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The pseudo-label term and the mixing term, over the unlabelled clips."""
        if step.batch.known is None or step.progress < self.warmup:
            return {}
        free = ~step.batch.known
        if not bool(free.any()):
            return {}
        weak = step.batch.inputs[free]
        mean, weight = self._taught(step, weak)
        answer = mean.argmax(dim=1)
        rise = math.sin(math.pi / 2 * (step.progress - self.warmup) / (1 - self.warmup))
        logits = step.forward(step.batch.views["strong"][free]).logits
        losses = torch.nn.functional.cross_entropy(logits, answer, reduction="none")
        part_losses = {"pseudo_label": rise * self.weight * (weight * losses).mean()}
        if self.mix and len(weak) > 1:
            part_losses["mixed"] = rise * self.mix * self._mixed(step, weak, mean, weight)
        return part_losses

    def after_step(self, number: int) -> None:
        """Move the teacher towards the student."""
        for name, parameter in self._named:
            self._teacher[name].lerp_(parameter.detach(), 1 - self.average)

    def state(self) -> dict[str, Any]:
        """The teacher."""
        return {"teacher": self._teacher}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The teacher as it was."""
        for name, tensor in self._teacher.items():
            tensor.copy_(state["teacher"][name])

    def _taught(self, step: Step, weak: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities (n, C) and the weights (n,) of its answers."""
        with torch.no_grad(), self._as_teacher():
            passes = [step.forward(weak).logits.softmax(dim=1) for _ in range(self.passes)]
        all_passes = torch.stack(passes)
        mean = all_passes.mean(dim=0)
        probability, answer = mean.max(dim=1)
        picked = all_passes.gather(2, answer.expand(self.passes, -1)[..., None])[..., 0]
        weight = regulation(probability, picked.std(dim=0, correction=0))
        return mean, weight.to(mean)

    def _mixed(self, step: Step, weak: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
        """Squared distance of the student's probabilities on mixed clips to mixed targets."""
        share = float(step.random.beta(_BETA, _BETA))
        partner = torch.from_numpy(step.random.permutation(len(weak))).to(weak.device)
        shape = weak.shape[2:] if weak.ndim == 3 else (1, *_patches(weak.shape[3:]))
        drawn = torch.from_numpy(step.random.random(shape) < share).to(weak.device)
        if weak.ndim > 3:
            drawn = _grown(drawn, weak.shape[3:])
        mixed = torch.where(drawn, weak, weak[partner])
        target = share * mean + (1 - share) * mean[partner]
        both = share * weight + (1 - share) * weight[partner]
        answer = step.forward(mixed).logits.softmax(dim=1)
        return (both * (answer - target).square().mean(dim=1)).mean()

    def _perturbed(self, x: Tensor, random: Random) -> Tensor:
        """A clip (T, ...) with two moments turned round and channels set to zero."""
        x = x.clone()
        places = range(0, len(x) - 1, 2)
        if self.reverse and len(places):
            for index in random.choice(places, min(2, len(places)), replace=False).tolist():
                x[index : index + 2] = x[index : index + 2].flip(0)
        keep_mask = torch.from_numpy(random.random(x.shape[1]) >= _DROPPED).to(x)
        return x * keep_mask.reshape(1, -1, *[1] * (x.ndim - 2)) / (1 - _DROPPED)

    @contextmanager
    def _as_teacher(self) -> Generator[None]:
        """The method with the teacher's weights; gradients of the student stay right."""
        student = {name: p.data for name, p in self._named}
        for name, parameter in self._named:
            parameter.data = self._teacher[name]
        try:
            yield
        finally:
            for name, parameter in self._named:
                parameter.data = student[name]


def _patches(size: torch.Size) -> tuple[int, int]:
    return max(1, size[0] // 16), max(1, size[1] // 16)


def _grown(drawn: Tensor, size: torch.Size) -> Tensor:
    """Patches (1, h, w) to pixels (1, height, width)."""
    rows = drawn.repeat_interleave(-(-size[0] // drawn.shape[1]), dim=1)[:, : size[0]]
    return rows.repeat_interleave(-(-size[1] // drawn.shape[2]), dim=2)[:, :, : size[1]]
