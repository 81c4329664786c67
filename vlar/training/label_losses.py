"""Kinds of labels of clips; the loss, the accuracy and the metrics follow from them.

Letters: N clips, C labels, K labels of one part (verb, object).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax against target shares.

    Args:
        logits: (N, C).
        targets: (N, C) shares; a row sums to 1. One-hot, smoothed or mixed.

    >>> import torch
    >>> float(soft_cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]))) # ln 4
    1.3862943649291992
    """
    return F.cross_entropy(logits, targets.to(logits))


def shared_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against the labels of a clip at equal shares (Mahajan et al. 2018).

    It suits logits that only compare labels with each other, as scaled cosines do.

    Args:
        logits: (N, C).
        targets: (N, C) from 0 to 1, 1 where a clip shows the label. A row without any label
            counts as 0.
    """
    targets = targets.to(logits)
    shares = targets / targets.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return F.cross_entropy(logits, shares)


def part_cross_entropy(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean over the parts of a label (verb, object) of the part's own cross-entropy.

    Args:
        logits: (N, C_part) by part.
        targets: (N, C_part) shares by part, for at least one part of ``logits``.
    """
    terms = [soft_cross_entropy(logits[part], targets[part]) for part in logits if part in targets]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / len(terms)


@dataclass(frozen=True)
class LabelTargets:
    """Targets of N clips.

    Attributes:
        labels: (N, C) from 0 to 1, one column a label.
        parts: (N, K) by part of a label, where labels have parts.
    """

    labels: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def mixed(self, other: Tensor, share: float) -> LabelTargets:
        """``share`` of these targets, the rest from the rows ``other`` (N,) of them."""
        parts = {p: share * rows + (1 - share) * rows[other] for p, rows in self.parts.items()}
        return LabelTargets(share * self.labels + (1 - share) * self.labels[other], parts)

    def padded(self, count: int) -> LabelTargets:
        """Pad the targets with ``count`` rows of zeros for unlabelled clips."""

        def longer(rows: Tensor) -> Tensor:
            return torch.cat([rows, rows.new_zeros(count, rows.shape[1])])

        return LabelTargets(longer(self.labels), {p: longer(t) for p, t in self.parts.items()})


class LabelTask(ABC):
    """Comparison of answers with the labels of a training set.

    Attributes:
        form: ``one-hot``, ``multi-hot`` or ``parts``.
    """

    form: ClassVar[str]

    @abstractmethod
    def targets(self, shown: LabelTargets, smoothing: float) -> LabelTargets:
        """Targets with a share of them spread over all labels.

        Args:
            shown: 1 where a clip shows a label, else 0.
            smoothing: That share, 0 to 1.
        """

    @abstractmethod
    def loss(self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]) -> Tensor:
        """The supervised loss, a scalar.

        Args:
            logits: (N, C).
            targets: Targets of the same clips.
            parts: (N, K) logits by part, from methods that have them; may be empty.
        """

    def metrics(
        self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Sums over the clips of what a training reports, scalars; ``accuracy`` is always there."""
        right = logits.argmax(dim=1) == targets.labels.argmax(dim=1)
        return {"accuracy": right.sum()}


@dataclass(frozen=True)
class OneLabel(LabelTask):
    """Every clip shows exactly one of the labels: cross-entropy, and the share of right answers."""

    form: ClassVar[str] = "one-hot"

    def targets(self, shown: LabelTargets, smoothing: float) -> LabelTargets:
        return LabelTargets(_smoothed(shown.labels, smoothing))

    def loss(self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]) -> Tensor:
        return soft_cross_entropy(logits, targets.labels)


@dataclass(frozen=True)
class SeveralLabels(LabelTask):
    """A clip may show several labels at once: cross-entropy against equal shares.

    ``accuracy`` is the share of clips whose best answer is one of their labels; ``r_precision``
    the share of a clip's k labels among its k best answers.
    """

    form: ClassVar[str] = "multi-hot"

    def targets(self, shown: LabelTargets, smoothing: float) -> LabelTargets:
        return LabelTargets(shown.labels * (1 - smoothing) + smoothing / 2)

    def loss(self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]) -> Tensor:
        return shared_cross_entropy(logits, targets.labels)

    def metrics(
        self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        shown = targets.labels > targets.labels.mean(dim=1, keepdim=True)
        best = logits.argsort(dim=1, descending=True, stable=True)
        hits = shown.gather(1, best)
        count = shown.sum(dim=1)
        among = torch.arange(hits.shape[1], device=hits.device) < count[:, None]
        precision = (hits & among).sum(dim=1) / count.clamp_min(1)
        return {"accuracy": hits[:, 0].sum(), "r_precision": precision.sum()}


@dataclass(frozen=True)
class LabelParts(LabelTask):
    """A label is made of parts, such as a verb and an object.

    The loss is the cross-entropy over whole labels. A method with logits of the parts adds the
    mean of theirs. Besides ``accuracy`` over whole labels there is one metric a part; without
    logits of its own, a part is taken from the best whole label.

    Attributes:
        columns: (C,) by part: which of the K values of the part each label has.
    """

    columns: Mapping[str, Tensor]
    form: ClassVar[str] = "parts"

    def targets(self, shown: LabelTargets, smoothing: float) -> LabelTargets:
        parts = {
            part: _smoothed(self._of_part(part, shown.labels), smoothing) for part in self.columns
        }
        return LabelTargets(_smoothed(shown.labels, smoothing), parts)

    def loss(self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]) -> Tensor:
        whole = soft_cross_entropy(logits, targets.labels)
        return whole + part_cross_entropy(parts, targets.parts) if parts else whole

    def metrics(
        self, logits: Tensor, targets: LabelTargets, parts: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        best, right = logits.argmax(dim=1), targets.labels.argmax(dim=1)
        values = {"accuracy": (best == right).sum()}
        for part, columns in self.columns.items():
            column = columns.to(best.device)
            answer = parts[part].argmax(dim=1) if part in parts else column[best]
            values[part] = (answer == column[right]).sum()
        return values

    def _of_part(self, part: str, labels: Tensor) -> Tensor:
        """(N, C) shares of labels to (N, K) shares of the values of a part."""
        columns = self.columns[part]
        count = int(columns.max()) + 1
        return labels @ F.one_hot(columns, count).to(labels)


def _smoothed(shares: Tensor, smoothing: float) -> Tensor:
    return shares * (1 - smoothing) + smoothing / shares.shape[1]
