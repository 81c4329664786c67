"""``pcan``: fine labels that are confused are pulled apart by prototypes under a label tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.methods.label_tree.objective import read_tree, tree_loss
from vlar.registry import register
from vlar.training.objectives import Objective, Step, TrainingContext

_TEMPERATURE = 0.125
# Of the three kinds of false negatives: the coarse head right, the fine head right, none right.
# The factors multiply scores before the softmax, as a temperature does.
_SHARPNESS = (1.0, 0.1, 0.5)


@dataclass(frozen=True)
class Confusions:
    """Confusions of a batch.

    Attributes:
        negatives: Three (N, C) masks: clip i shows label c, and this head misses it (the other head
            is right), this head has it (the other is wrong), or both are wrong.
        positives: (N, C): clip i is answered with label c, which it does not show.
    """

    negatives: tuple[Tensor, Tensor, Tensor]
    positives: Tensor

    @staticmethod
    def of(y: Tensor, answer: Tensor, other_right: Tensor, n_labels: int) -> Confusions:
        """Sort the clips of a batch.

        Args:
            y: (N,) int64 labels.
            answer: (N,) int64 answers of this head.
            other_right: (N,) bool, whether the head of the other level is right.
            n_labels: C.
        """
        shows = F.one_hot(y, n_labels).bool()
        wrong = answer != y
        kinds = (wrong & other_right, ~wrong & ~other_right, wrong & ~other_right)
        first, second, third = (shows & kind[:, None] for kind in kinds)
        wrong_rows = F.one_hot(answer, n_labels).bool() & wrong[:, None]
        return Confusions((first, second, third), wrong_rows)


def refined(
    space: Tensor, memory: Tensor, y: Tensor, probability: Tensor, sets: Confusions
) -> Tensor:
    """Cross-entropies of similarities to prototypes that move with the confused clips.

    ``(cos(u, m_c) + p (cos(u, sum of FN_c) - 1)) / 0.125`` for each kind of false negatives, and
    ``(cos(u, m_c) + p (-cos(u, sum of FP_c) - 1)) / 0.125`` for false positives, with
    ``p = 0.125 (1 - probability of the own label)`` at the own label alone. A label without clips
    of a kind keeps ``cos(u, m_c)``.

    Args:
        space: (N, E) features u of the clips.
        memory: (C, E) prototypes m.
        y: (N,) int64 labels.
        probability: (N, C) of the head.
        sets: The confused clips.

    Returns:
        The sum of the four mean cross-entropies.
    """
    unit = F.normalize(space, dim=1)
    near = unit @ F.normalize(memory, dim=1).T
    own_mask = F.one_hot(y, len(memory)).bool()
    doubt = _TEMPERATURE * (1 - probability.gather(1, y[:, None]))
    total = space.sum() * 0.0
    signs = ((mask, 1.0, sharp) for mask, sharp in zip(sets.negatives, _SHARPNESS, strict=True))
    for mask, sign, sharpness in (*signs, (sets.positives, -1.0, 1.0)):
        group = F.normalize(mask.to(space).T @ space, dim=1)
        pull = doubt * (sign * unit @ group.T - 1)
        moved = torch.where(own_mask & mask.any(dim=0), pull, torch.zeros_like(pull))
        total = total + F.cross_entropy(sharpness * (near + moved) / _TEMPERATURE, y)
    return total


def diversity(space: Tensor, y: Tensor) -> Tensor:
    """Frobenius norm of the cosines between the mean features of the labels of a batch.

    The source keeps the diagonal, a constant; it is left out here.

    Args:
        space: (N, E).
        y: (N,) int64 labels.
    """
    labels = y.unique()
    means = torch.stack([space[y == label].mean(dim=0) for label in labels])
    cosines = F.normalize(means, dim=1) @ F.normalize(means, dim=1).T
    # The square root has no gradient at 0.
    apart = cosines - torch.eye(len(labels), dtype=cosines.dtype, device=cosines.device)
    return (apart.square().sum() + 1e-12).sqrt()


@register("objective", "pcan", status="null here")
@dataclass
class PrototypicalCalibration(Objective):
    """Fine and coarse heads, and prototypes that treat false negatives and positives apart.

    Li et al., "Prototypical calibrating ambiguous samples for micro-action recognition" (PCAN),
    2024. Clips are sorted by whether the coarse and the fine head are right. A memory of prototypes
    follows right clips alone. It starts at the mean of the first right clips of a label; the source
    starts at random. Its rectification of answers at test time is left out: the heads and the
    prototypes shape the vectors, and are not part of the trained model.

    Reference: Li et al., "Prototypical calibrating ambiguous samples for micro-action recognition",
    AAAI 2025.
    Example: ``vlar adapt support/ --out mine --method temporal --objective pcan --tree tree.json``.

    Attributes:
        file: JSON file of label to parent.
        parents: The same as a mapping, in place of a file.
        refine: Factor on the refinement and the diversity.
        width: Features of a prototype.
        keep: Part of a prototype that a batch keeps, 0 to below 1.
    """

    file: str = ""
    parents: dict[str, str] = field(default_factory=dict[str, str])
    refine: float = setting(0.2, at_least=0)
    width: int = setting(256, at_least=1, at_most=4096)
    keep: float = setting(0.9, at_least=0, below=1)
    name: ClassVar[str] = "pcan"
    reads_tree: ClassVar[bool] = True
    _parents: list[int] = field(default_factory=list[int], init=False, repr=False)
    _memories: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Read the tree and build the heads.

        Raises:
            UsageError: the file is missing, or the tree lacks a label.
            LabelError: the file is not a tree.
        """
        context.clips_per_label(self.name)
        tree = read_tree(self.name, self.file, self.parents).restricted(context.texts)
        self._parents = list(tree.parent_columns)
        module, sizes = nn.Module(), {"fine": len(context.texts), "coarse": len(tree.coarse)}
        for level, count in sizes.items():
            module.add_module(level, nn.Linear(context.vector_width, count))
            module.add_module(f"{level}_space", nn.Linear(context.vector_width, self.width))
            self._memories[level] = torch.zeros(count, self.width, device=context.device)
        self.module = module

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The two classifications, the tree loss and the refinement, over the labelled clips."""
        module, batch = self.module, step.batch
        vectors = batch.labelled(step.vectors)
        if not len(vectors):
            return {}
        vectors = vectors * vectors.shape[1] ** 0.5
        y = batch.labelled(batch.targets).argmax(dim=1)
        parent = torch.tensor(self._parents, device=y.device)
        truth = {"fine": y, "coarse": parent[y]}
        logits = {level: module.get_submodule(level)(vectors) for level in truth}
        losses = {level: F.cross_entropy(logits[level], truth[level]) for level in truth}
        losses["states"] = tree_loss(logits["fine"], logits["coarse"], parent, y)
        answers = {level: logits[level].detach().argmax(dim=1) for level in truth}
        right = {level: answers[level] == truth[level] for level in truth}
        for level in truth:
            other = right["coarse" if level == "fine" else "fine"]
            sets = Confusions.of(truth[level], answers[level], other, len(self._memories[level]))
            space = module.get_submodule(f"{level}_space")(vectors)
            self._remember(level, space.detach(), truth[level], right[level] & other)
            probability = logits[level].detach().softmax(dim=1)
            loss = refined(space, self._memories[level], truth[level], probability, sets)
            losses[f"{level}_refined"] = self.refine * loss
            losses[f"{level}_diversity"] = self.refine * diversity(space, truth[level])
        return losses

    def state(self) -> dict[str, Any]:
        """The prototypes."""
        return dict(self._memories)

    def restore(self, state: Mapping[str, Any]) -> None:
        """The prototypes as they were."""
        for level, memory in self._memories.items():
            memory.copy_(state[level])

    def _remember(self, level: str, space: Tensor, y: Tensor, right: torch.Tensor) -> None:
        """Move the prototypes of the labels that have right clips; the first ones set them."""
        memory = self._memories[level]
        for label in y[right].unique().tolist():
            mean = space[right & (y == label)].mean(dim=0)
            new = not bool(memory[label].any())
            memory[label] = mean if new else self.keep * memory[label] + (1 - self.keep) * mean
