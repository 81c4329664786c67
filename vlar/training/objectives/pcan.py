"""``pcan``: fine labels that are confused are pulled apart by prototypes under a label tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from vlar.adapters.settings import setting
from vlar.losses.prototypes import Confusions, diversity, refined
from vlar.losses.tree import tree_loss
from vlar.registry import register
from vlar.training.objectives.base import Objective, Step, TrainingContext
from vlar.training.objectives.label_tree import read_tree

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@register("objective", "pcan")
@dataclass
class PrototypicalCalibration(Objective):
    """Fine and coarse heads, and prototypes that treat false negatives and positives apart.

    Li et al., "Prototypical calibrating ambiguous samples for micro-action recognition" (PCAN),
    2024. Clips are sorted by whether the coarse and the fine head are right. A memory of prototypes
    follows right clips alone. It starts at the mean of the first right clips of a label; the source
    starts at random. Its rectification of answers at test time is left out: the heads and the
    prototypes shape the vectors, and are not part of the trained model.

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
    _module: nn.Module | None = field(default=None, init=False, repr=False)
    _parents: list[int] = field(default_factory=list[int], init=False, repr=False)
    _memories: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def module(self) -> nn.Module | None:
        """The two heads and the projections of the prototypes."""
        return self._module

    def begin(self, context: TrainingContext) -> None:
        """Read the tree and build the heads.

        Raises:
            UsageError: the file is missing, or the tree lacks a label.
            LabelError: the file is not a tree.
        """
        import torch
        from torch import nn

        context.clips_per_label(self.name)
        tree = read_tree(self.name, self.file, self.parents).restricted(context.texts)
        self._parents = list(tree.parent_columns)
        module, sizes = nn.Module(), {"fine": len(context.texts), "coarse": len(tree.coarse)}
        for level, count in sizes.items():
            module.add_module(level, nn.Linear(context.vector_width, count))
            module.add_module(f"{level}_space", nn.Linear(context.vector_width, self.width))
            self._memories[level] = torch.zeros(count, self.width, device=context.device)
        self._module = module

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The two classifications, the tree loss and the refinement, over the labelled clips."""
        import torch
        from torch.nn import functional as F  # noqa: N812 - the usual name

        module, batch = self._module, step.batch
        assert module is not None
        vectors = batch.labelled(step.vectors)
        if not len(vectors):
            return {}
        vectors = vectors * vectors.shape[1] ** 0.5
        y = batch.labelled(batch.targets).argmax(dim=1)
        parent = torch.tensor(self._parents, device=y.device)
        truth = {"fine": y, "coarse": parent[y]}
        logits = {level: module.get_submodule(level)(vectors) for level in truth}
        found = {level: F.cross_entropy(logits[level], truth[level]) for level in truth}
        found["states"] = tree_loss(logits["fine"], logits["coarse"], parent, y)
        answers = {level: logits[level].detach().argmax(dim=1) for level in truth}
        right = {level: answers[level] == truth[level] for level in truth}
        for level in truth:
            other = right["coarse" if level == "fine" else "fine"]
            sets = Confusions.of(truth[level], answers[level], other, len(self._memories[level]))
            space = module.get_submodule(f"{level}_space")(vectors)
            self._remember(level, space.detach(), truth[level], right[level] & other)
            probability = logits[level].detach().softmax(dim=1)
            loss = refined(space, self._memories[level], truth[level], probability, sets)
            found[f"{level}_refined"] = self.refine * loss
            found[f"{level}_diversity"] = self.refine * diversity(space, truth[level])
        return found

    def state(self) -> dict[str, Any]:
        """The prototypes."""
        return dict(self._memories)

    def restore(self, state: Mapping[str, Any]) -> None:
        """The prototypes as they were."""
        for level, kept in self._memories.items():
            kept.copy_(state[level])

    def _remember(self, level: str, space: Tensor, y: Tensor, right: torch.Tensor) -> None:
        """Move the prototypes of the labels that have right clips; the first ones set them."""
        memory = self._memories[level]
        for label in y[right].unique().tolist():
            mean = space[right & (y == label)].mean(dim=0)
            new = not bool(memory[label].any())
            memory[label] = mean if new else self.keep * memory[label] + (1 - self.keep) * mean
