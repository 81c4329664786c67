"""``exchange``: what is done is learned from clips whose performers are exchanged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.registry import register
from vlar.training.data import Random
from vlar.training.objectives import Objective, Step, TrainingContext

NO_PARTNER = -1
_log = logging.getLogger("vlar")


class Pairs(NamedTuple):
    """A partner for each clip.

    Attributes:
        same_action: (N,) int64, a clip of the same action by another subject; -1 where none is.
        same_subject: (N,) int64, a clip of another action by the same subject; -1 where none is.
    """

    same_action: npt.NDArray[np.int64]
    same_subject: npt.NDArray[np.int64]


def pairs(
    actions: Sequence[object], subjects: Sequence[object], random: np.random.Generator
) -> Pairs:
    """Draw the partners of N clips.

    Args:
        actions: N labels.
        subjects: N names of who is seen.
        random: Draws among the clips that qualify.

    Raises:
        UsageError: other numbers of labels and subjects.
    """
    if len(actions) != len(subjects):
        raise UsageError(f"{len(actions)} actions and {len(subjects)} subjects; give one each")
    action, subject = _codes(actions), _codes(subjects)
    same, by_same = action[:, None] == action, subject[:, None] == subject
    return Pairs(_drawn(same & ~by_same, random), _drawn(~same & by_same, random))


def cross(n: Tensor, m: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors ``[n ; m]`` of clips and partners with one part exchanged.

    Args:
        n: (N, a) part of the person.
        m: (N, b) part of the action.
        partner: (N,) int64, the partner of each clip.

    Returns:
        ``[n of the partner ; m]``, which shows the action of the clip, and ``[n ; m of the
        partner]``, which shows that of the partner; both (N, a + b).
    """
    return torch.cat([n[partner], m], dim=1), torch.cat([n, m[partner]], dim=1)


def _codes(names: Sequence[object]) -> npt.NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _drawn(allowed: npt.NDArray[np.bool_], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """(N,) one allowed column of each row (N, N), or -1."""
    chance = np.where(allowed, random.random(allowed.shape), -1.0)
    if not len(chance):
        return np.zeros(0, np.int64)
    return np.where(allowed.any(axis=1), chance.argmax(axis=1), NO_PARTNER)


@register("objective", "exchange", status="null here")
@dataclass
class Exchange(Objective):
    """The vector of a clip must name the action, although another person performs it.

    Zhang et al., "SkeletonX", 2025. A clip gives ``n``, from the mean of its frames over time, and
    ``m``, from the vector of the method. A linear classifier on ``[n ; m]`` names the action, also
    after ``n`` or ``m`` came from a partner: the same action by another subject, or another action
    by the same subject. The parts of this classifier do not belong to the trained model.

    The subject of a clip is the column ``subject`` of the support set; without one it is the
    ``group``, the recording that a clip was cut from.

    Reference: Zhang et al., "SkeletonX: data-efficient skeleton-based action recognition via
    cross-sample feature aggregation", 2025.
    Example: ``vlar adapt skeletons/ --model skeleton --out mine --method ctr-gcn --objective
    exchange``.

    Attributes:
        weight: Factor on the crossed terms.
        plain: Factor on the classification without exchange.
        column: The column that names who is seen; empty for ``subject``, else ``group``.
        width: Features of ``n`` and of ``m``.
    """

    weight: float = setting(0.1, at_least=0)
    plain: float = setting(1.0, at_least=0)
    column: str = ""
    width: int = setting(64, at_least=1, at_most=4096)
    name: ClassVar[str] = "exchange"
    _actions: list[int] = field(default_factory=list[int], init=False, repr=False)
    _subjects: list[str] = field(default_factory=list[str], init=False, repr=False)

    def begin(self, context: TrainingContext) -> None:
        """Find the subjects and build the maps.

        Raises:
            UsageError: a clip has no subject, or none has a partner.
        """
        context.clips_per_label(self.name)
        self._actions = context.shown.argmax(axis=1).tolist()
        told = bool(context.facts) and all(facts.get("subject") for facts in context.facts)
        column = self.column or ("subject" if told else "group")
        self._subjects = [str(facts.get(column, "")) for facts in context.facts]
        if not self._subjects or not all(self._subjects):
            raise UsageError(
                f"objective 'exchange' needs a column {column!r} that names who is seen in "
                "each clip; add it to the CSV of the support set, or set 'column'"
            )
        drawn = pairs(self._actions, self._subjects, np.random.default_rng(0))
        without = [int((rows == NO_PARTNER).sum()) for rows in drawn]
        if all(rows == len(self._actions) for rows in without):
            raise UsageError(
                f"objective 'exchange': in column {column!r} no two subjects share an action "
                "and no subject does two; it has nothing to exchange"
            )
        _log.info(
            "exchange: %d clips without the same action by another subject, %d without "
            "another action by the same subject",
            *without,
        )
        module = nn.Module()
        module.subject = nn.Linear(context.frame_width, self.width)
        module.action = nn.Linear(context.vector_width, self.width)
        module.classifier = nn.Linear(2 * self.width, len(context.texts))
        self.module = module

    def order(self, epoch: int, random: Random) -> Sequence[int]:
        """Clips, each followed by a partner of either kind, so that batches hold both."""
        order: list[int] = []
        unused = random.permutation(len(self._actions)).tolist()
        partners = pairs(self._actions, self._subjects, random)
        waiting = set(unused)
        for row in unused:
            if row not in waiting:
                continue
            for one in (row, int(partners.same_action[row]), int(partners.same_subject[row])):
                if one in waiting:
                    order.append(one)
                    waiting.discard(one)
        return order

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The plain and the crossed classification of the labelled clips."""
        module, rows = self.module, step.batch.rows
        if not rows:
            return {}
        frames, vectors = step.batch.labelled(step.frames), step.batch.labelled(step.vectors)
        n = module.subject(frames.detach().mean(dim=1)).relu()
        # A unit vector of D entries has small ones; a linear map expects about one.
        m = module.action(vectors * vectors.shape[1] ** 0.5).relu()
        y = step.batch.labelled(step.batch.targets).argmax(dim=1)
        classifier = module.classifier
        part_losses = {"plain": self.plain * F.cross_entropy(classifier(torch.cat([n, m], 1)), y)}
        actions, subjects = (
            [kinds[row] for row in rows] for kinds in (self._actions, self._subjects)
        )
        drawn = pairs(actions, subjects, step.random)
        for kind, partner in zip(drawn._fields, drawn, strict=True):
            paired = torch.from_numpy(np.flatnonzero(partner != NO_PARTNER)).to(y.device)
            if not len(paired):
                continue
            other = torch.from_numpy(partner).to(y.device).clamp_min(0)
            rebuilt, others = cross(n, m, other)
            losses = F.cross_entropy(classifier(rebuilt), y, reduction="none")
            losses = losses + F.cross_entropy(classifier(others), y[other], reduction="none")
            part_losses[kind] = self.weight * losses[paired].sum() / len(y)
        return part_losses
