"""``tree``: errors inside a coarse label cost less than those across."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.language.tree import Tree
from vlar.registry import register
from vlar.training.objectives import Objective, Step, TrainingContext


def tree_loss(fine: Tensor, coarse: Tensor, parent: Tensor, y: Tensor) -> Tensor:
    """Minus the mean log probability of the state that a clip shows.

    With sigmoid scores ``s``, a state is a coarse label alone or a fine one with its parent; its
    weight is ``exp(sum of s in the state)``. Source: the tree loss that PCAN takes from Chen et
    al., "Label relation graphs enhanced hierarchical residual network", 2022.

    Args:
        fine: (N, C) logits.
        coarse: (N, J) logits; J = 0 leaves the softmax over sigmoid scores.
        parent: (C,) int64 column of each fine label's parent; ignored where J = 0.
        y: (N,) int64 fine labels.

    >>> zeros = torch.zeros(1, 5), torch.zeros(1, 2)
    >>> round(float(tree_loss(*zeros, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0]))), 6)
    1.826654
    """
    scores, above = fine.sigmoid(), coarse.sigmoid()
    kinds = scores + above[:, parent] if coarse.shape[1] else scores
    states = torch.cat([kinds, above], dim=1)
    parents = kinds.gather(1, y[:, None])[:, 0]
    return (states.logsumexp(dim=1) - parents).mean()


@register("objective", "tree", status="null here")
@dataclass
class LabelTree(Objective):
    """Coarse labels are learned with the fine ones: cross-entropy, and a loss over legal states.

    The tree loss of Chen et al. 2022, as PCAN uses it. The
    logit of a coarse label is the log-sum-exp of those of its kinds, so the trained model has no
    further parts.

    Reference: Chen et al., "Label relation graphs enhanced hierarchical residual network for
    hierarchical multi-granularity classification", CVPR 2022, as in PCAN.
    Example: ``vlar adapt support/ --out mine --method temporal --objective tree --tree tree.json``.

    Attributes:
        file: JSON file of label to parent.
        parents: The same as a mapping, in place of a file.
        coarse: Factor on the cross-entropy of the coarse labels.
        states: Factor on the tree loss.
    """

    file: str = ""
    parents: dict[str, str] = field(default_factory=dict[str, str])
    coarse: float = setting(1.0, at_least=0)
    states: float = setting(1.0, at_least=0)
    name: ClassVar[str] = "tree"
    reads_tree: ClassVar[bool] = True
    _parents: list[int] = field(default_factory=list[int], init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Read the tree.

        Raises:
            UsageError: the file is missing, or the tree lacks a label.
            LabelError: the file is not a tree.
        """
        context.clips_per_label(self.name)
        tree = read_tree(self.name, self.file, self.parents)
        self._parents = list(tree.restricted(context.texts).parent_columns)

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """Both terms, over the labelled clips."""
        logits = step.batch.labelled(step.output.logits)
        if not len(logits):
            return {}
        y = step.batch.labelled(step.batch.targets).argmax(dim=1)
        parent = torch.tensor(self._parents, device=logits.device)
        above = coarse_logits(logits, parent)
        centred = logits - logits.mean(dim=1, keepdim=True)
        return {
            "coarse": self.coarse * F.cross_entropy(above, parent[y]),
            "states": self.states * tree_loss(centred, coarse_logits(centred, parent), parent, y),
        }


def read_tree(name: str, file: str, parents: Mapping[str, str]) -> Tree:
    """The label tree of an objective's settings.

    Args:
        name: The objective, for messages.
        file: JSON file of label to parent, or empty.
        parents: The same as a mapping, or empty.

    Raises:
        UsageError: both are empty, or the tree is not one.
        LabelError: the file is not a tree.
    """
    if parents:
        return Tree(parents)
    if not file:
        raise UsageError(f"objective {name!r} needs a label tree; set 'file', or give --tree FILE")
    return Tree.read(file)


def coarse_logits(logits: Tensor, parent: Tensor) -> Tensor:
    """(N, J) log-sum-exp of the logits (N, C) of the kinds of each coarse label.

    Args:
        logits: (N, C).
        parent: (C,) int64 column of each label's parent.
    """
    columns = [logits[:, parent == column] for column in range(int(parent.max()) + 1)]
    return torch.stack([columns_of_kind.logsumexp(dim=1) for columns_of_kind in columns], dim=1)
