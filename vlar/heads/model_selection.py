"""Choice of a signature and a head for a support set, by the support set alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import SupportError, UsageError
from vlar.heads.fewshot.base import (
    ClosedForm,
    CrossValidationData,
    FewShotHead,
    fit_weights,
    make_problem,
)
from vlar.heads.fewshot.late_fusion import LateFusionHead
from vlar.heads.fewshot.mixture import MixtureHead
from vlar.heads.reject import Familiarity, HeldOut, Rejector
from vlar.heads.signatures import join, kinds_for, of_sensor, parse_kind, signature, terms
from vlar.metrics.classification import Confusion, confusions
from vlar.metrics.openset import auroc
from vlar.numeric import softmax
from vlar.types import Float32, Float64, JsonDict

AUTO = "auto"
_MOST_HELD = 2000  # answers that a report keeps
_LEAST = 0.02  # of the mixture; a candidate with less is left out


@dataclass(frozen=True)
class Candidate:
    """One way to use the examples and what it reaches on examples held out of the support set.

    Attributes:
        head: Registered name.
        kind: Signature kind.
        parameter: The head's parameter.
        loss: Mean negative log-likelihood in nats, caution included; lower is better.
        accuracy: Share of held-out examples recognised; NaN if none can be held out.
        share: Weight in the mixture that was fitted, 0 to 1.
    """

    head: str
    kind: str
    parameter: float
    loss: float
    accuracy: float
    share: float

    def to_dict(self) -> JsonDict:
        """JSON object; an unknown accuracy is null."""
        return {
            "head": self.head,
            "kind": self.kind,
            "parameter": self.parameter,
            "loss": round(self.loss, 4),
            "accuracy": None if np.isnan(self.accuracy) else round(self.accuracy, 4),
            "share": round(self.share, 4),
        }


@dataclass(frozen=True)
class Choice:
    """Candidates, choice and reason.

    Attributes:
        candidates: One a head and kind (with its best parameter), the default first.
        chosen: The one with the largest share.
        why: One sentence.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    why: str

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {
            "chosen": self.chosen.to_dict(),
            "why": self.why,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    @staticmethod
    def restored(stored: Mapping[str, Any]) -> Choice:
        """The choice that ``to_dict`` gave.

        Raises:
            ValueError: it is malformed.
        """
        from pydantic import TypeAdapter

        rows = [
            {**row, "accuracy": np.nan if row["accuracy"] is None else row["accuracy"]}
            for row in stored["candidates"]
        ]
        candidates = TypeAdapter(tuple[Candidate, ...]).validate_python(rows)
        chosen = candidates[list(stored["candidates"]).index(stored["chosen"])]
        return Choice(candidates, chosen, str(stored["why"]))

    def without_accuracy(self) -> Choice:
        """The same where no example could be held out honestly."""
        candidates = tuple(replace(row, accuracy=np.nan) for row in self.candidates)
        chosen = candidates[self.candidates.index(self.chosen)]
        return replace(self, candidates=candidates, chosen=chosen)

    def table(self) -> str:
        """The candidates as aligned text, best held-out loss first; the chosen one is starred."""
        lines = ["  head       held-out accuracy   loss  share  signature"]
        for row in sorted(self.candidates, key=lambda c: (c != self.chosen, c.loss)):
            accuracy = "none" if np.isnan(row.accuracy) else f"{row.accuracy:.1%}"
            share = f"{row.share:.0%}" if row.share else ""
            star = "*" if row == self.chosen else " "
            lines.append(
                f"{star} {row.head:10s} {accuracy:>17s} {row.loss:6.2f} {share:>6s}  {row.kind}"
            )
        return "\n".join(lines)


def methods() -> list[str]:
    """Names of the heads that a support set can be fitted with, sorted."""
    return sorted(name for name, part in registry.parts("fewshot").items() if part.standalone)


def auto_heads() -> list[str]:
    """Names of the heads that ``auto`` tries: those of status ``default``, by ``auto_order``."""
    order: dict[str, float] = {}
    for name in registry.names("fewshot"):
        if registry.status("fewshot", name) == "default":
            part: type[FewShotHead] = registry.get("fewshot", name)
            if part.auto_order is not None:
                order[name] = part.auto_order
    return sorted(order, key=lambda name: order[name])


def choose(
    features: Float32,
    blocks: Sequence[FrameBlock],
    y: Sequence[str],
    zero_shot: Float32 | None = None,
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    method: str = AUTO,
    kinds: Sequence[str] | None = None,
) -> tuple[FewShotHead, Choice]:
    """Fit the heads and signatures that suit a support set, and report how they were found.

    Each head is tried on each signature kind, on examples held out of the support set. The
    likelihood of the held-out examples gives the weights: with a uniform prior over the candidates
    their posterior is ``exp(-n * loss)``, and the mixture averages their logits by it. Of a bundle,
    ``auto`` does so for each sensor, with the examples that have it, and averages over the sensors
    of a clip (``LateFusionHead``).

    Args:
        features: (n, T, F) float32 frame features of the examples.
        blocks: The parts of F (``encoder.frame_blocks``).
        y: n labels.
        zero_shot: (n, C) similarities of the examples to the labels' texts, or None.
        labels: Order of the C columns; default the sorted labels of ``y``.
        groups: n groups (recordings), held out as one; default every example its own.
        method: ``auto`` for all heads that take part in it, or the name of a head, for which only
            the signatures are chosen.
        kinds: Signature kinds to try instead of the built-in ones, the default first.

    Returns:
        The fitted head (its ``kind`` is set) and the choice.

    Raises:
        SupportError: the support set cannot be learnt from.
        UnknownNameError: ``method`` or a term of a kind does not exist.
        UsageError: a given kind reads blocks that the features do not have, or the method compares
            frames and the features are of whole clips.
    """
    if method == AUTO and not kinds and (sensors := _sensors(features, blocks, y)):
        return _by_sensor(sensors, features, blocks, y, zero_shot, labels, groups)
    heads = _heads(method, blocks)
    problem = make_problem(y, zero_shot, labels, groups)
    tried = {head.name: tuple(kinds or head.kinds) or kinds_for(blocks) for head in heads}
    every = tuple(dict.fromkeys(kind for listed in tried.values() for kind in listed))
    names = tuple(dict.fromkeys(term for kind in every for term in parse_kind(kind)))
    vectors = terms(features, blocks, names)
    grams = _Grams(vectors)
    best = [
        _best_parameter(head, kind, grams.of(head, kind), problem)
        for kind in every
        for head in heads
        if kind in tried[head.name]
    ]
    shares, why = _shares(best, problem)
    candidates = tuple(replace(c, share=share) for c, share in zip(best, shares, strict=True))
    members = [
        (candidate.share, _fitted(candidate, vectors, y, zero_shot, labels, groups))
        for candidate in candidates
        if candidate.share
    ]
    widths = {name: vector.shape[1] for name, vector in vectors.items()}
    head = members[0][1] if len(members) == 1 else MixtureHead.of(members, widths)
    return head, Choice(candidates, max(candidates, key=lambda c: c.share), why)


def _sensors(
    features: Float32, blocks: Sequence[FrameBlock], y: Sequence[str]
) -> dict[str, list[int]]:
    """Sensors of a bundle that have examples of all labels, with the numbers of the examples."""
    columns_of: dict[str, list[int]] = {}
    ends = np.cumsum([0, *(block.width for block in blocks)])
    for sensor in dict.fromkeys(block.part for block in blocks if block.part):
        columns = [
            slice(a, b)
            for a, b, block in zip(ends, ends[1:], blocks, strict=False)
            if block.part == sensor
        ]
        present = np.any([features[..., column].any(axis=(1, 2)) for column in columns], axis=0)
        rows: list[int] = np.flatnonzero(present).tolist()
        if {y[row] for row in rows} == set(y):
            columns_of[sensor] = rows
    return columns_of


def _by_sensor(
    sensors: Mapping[str, list[int]],
    features: Float32,
    blocks: Sequence[FrameBlock],
    y: Sequence[str],
    zero_shot: Float32 | None,
    labels: Sequence[str] | None,
    groups: Sequence[str] | None,
) -> tuple[FewShotHead, Choice]:
    """The choice of each sensor, and the mean of what was chosen."""
    members: list[FewShotHead] = []
    candidates: list[Candidate] = []
    for sensor, present in sensors.items():
        blocks_of_sensor = [block for block in blocks if block.part == sensor]
        head, choice = choose(
            features[present],
            blocks,
            [y[row] for row in present],
            labels=labels,
            groups=None if groups is None else [groups[row] for row in present],
            kinds=[of_sensor(kind, sensor) for kind in kinds_for(blocks_of_sensor)],
        )
        members.append(head)
        candidates += [replace(c, share=c.share / len(sensors)) for c in choice.candidates]
    names = tuple(dict.fromkeys(term for head in members for term in parse_kind(head.kind)))
    widths = {name: rows.shape[1] for name, rows in terms(features[:1], blocks, names).items()}
    why = f"a choice for {' and for '.join(sensors)}; a clip gets the mean over what it has"
    best = max(candidates, key=lambda c: c.share)
    fused = LateFusionHead.with_words(members, widths, make_problem(y, zero_shot, labels, groups))
    return fused, Choice(tuple(candidates), best, why)


def held_out_logits(
    head: FewShotHead,
    features: Float32,
    blocks: Sequence[FrameBlock],
    y: Sequence[str],
    zero_shot: Float32 | None,
    groups: Sequence[str] | None,
) -> Float64:
    """Logits of each example by a head that did not learn from it, averaged over the folds.

    Args:
        head: A closed form, or a head that is made of some, fitted on these examples.
        features: (n, T, F) float32 frame features.
        blocks: The parts of F.
        y: n labels.
        zero_shot: (n, C) similarities to the labels' texts, or None.
        groups: n groups (recordings).

    Returns:
        (n, C) float64; NaN in rows that no fold holds out.
    """
    problem = make_problem(y, zero_shot, head.labels, groups)
    total = np.zeros(problem.member.shape)
    for weight, member in head.closed_forms():
        rows = signature(features, blocks, member.kind)
        held = member.hold_out(member.compare(rows, rows), problem, member.parameter)
        answered = ~np.isnan(held)
        counts = answered.sum(axis=0)
        sums = np.where(answered, held, 0.0).sum(axis=0)
        evidence = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        total += weight * member.weighed(evidence, zero_shot)
    return head.adjusted(total)


def held_out_confusions(
    logits: Float64, labels: Sequence[str], y: Sequence[str], groups: Sequence[str] | None
) -> tuple[tuple[Confusion, ...], int]:
    """Confusions of examples by a head that did not learn from them, by falling count.

    Only examples count that leave another one of their label in the support set.

    Args:
        logits: (n, C) of ``held_out_logits``.
        labels: C labels.
        y: n labels.
        groups: n groups (recordings).

    Returns:
        The confusions, and the number of examples that count.
    """
    rows = _counted(logits, labels, y, groups)
    best: list[int] = logits[rows].argmax(axis=1).tolist()
    answers = [labels[column] for column in best]
    return tuple(confusions([y[row] for row in rows], answers)), len(rows)


def held_out_answers(
    logits: Float64, labels: Sequence[str], y: Sequence[str], groups: Sequence[str] | None
) -> tuple[tuple[float, float], ...]:
    """Confidence of each answer of ``held_out_confusions``, and 1 where it is right, else 0."""
    rows = _counted(logits, labels, y, groups)[:_MOST_HELD]
    shares = softmax(logits[rows])
    right = [float(labels[c] == y[row]) for c, row in zip(shares.argmax(axis=1), rows, strict=True)]
    return tuple(zip(shares.max(axis=1).round(4).tolist(), right, strict=True))


def _counted(
    logits: Float64, labels: Sequence[str], y: Sequence[str], groups: Sequence[str] | None
) -> list[int]:
    """Examples with an answer that leave another one of their label in the support set."""
    fair = make_problem(y, None, labels, groups).fair.any(axis=0)
    return np.flatnonzero(fair & ~np.isnan(logits).any(axis=1)).tolist()


def _heads(method: str, blocks: Sequence[FrameBlock]) -> list[ClosedForm]:
    """The closed forms to try that these features can fill."""
    heads = [_closed_form(name) for name in (auto_heads() if method == AUTO else [method])]
    if any(block.kind in ("appearance", "signal") for block in blocks):
        return heads
    fitting = [head for head in heads if head.reads != "features"]
    if not fitting:
        raise UsageError(
            f"method {method!r} compares the frames of clips, and this encoder gives one feature a "
            "clip; use 'auto', or an encoder of frames such as 'lite'"
        )
    return fitting


def _closed_form(name: str) -> ClosedForm:
    part = registry.get("fewshot", name)
    if not part.standalone:
        raise UsageError(
            f"method {name!r} is made of other heads; choose one of {', '.join(methods())}, or auto"
        )
    return part()


def _fitted(
    candidate: Candidate,
    vectors: Mapping[str, Float32],
    y: Sequence[str],
    zero_shot: Float32 | None,
    labels: Sequence[str] | None,
    groups: Sequence[str] | None,
) -> ClosedForm:
    head = _closed_form(candidate.head)
    head.kind = candidate.kind
    return head.fit(
        join(vectors, candidate.kind),
        y,
        zero_shot,
        labels=labels,
        groups=groups,
        parameter=candidate.parameter,
    )


class _Grams:
    """Similarities of the examples by signature kind.

    The dot products of a kind are the weighted sum of those of its terms, each computed once.
    """

    def __init__(self, vectors: Mapping[str, Float32]) -> None:
        self._vectors = vectors
        self._of_term: dict[str, Float64] = {}
        self._last: tuple[str, Float64] | None = None

    def of(self, head: ClosedForm, kind: str) -> Float64:
        """(n, n) similarities as a head compares clips."""
        if not head.compares_by_dot_product:
            head.kind = kind
            return head.gram(join(self._vectors, kind))
        if self._last is None or self._last[0] != kind:
            weights = parse_kind(kind)
            total = sum(weight**2 for weight in weights.values())
            parts = [self._term(name) * (w**2 / total) for name, w in weights.items()]
            self._last = kind, np.sum(parts, axis=0)
        return self._last[1]

    def _term(self, name: str) -> Float64:
        if name not in self._of_term:
            rows = self._vectors[name]
            # Two copies: the product of an array with itself would be rounded in another way.
            self._of_term[name] = rows.astype(np.float64) @ rows.T.astype(np.float64)
        return self._of_term[name]


def _best_parameter(
    head: ClosedForm, kind: str, gram: Float64, problem: CrossValidationData
) -> Candidate:
    tried = [
        (value, fit_weights(head.slope, head.hold_out(gram, problem, value), problem))
        for value in head.grid
    ]
    parameter, weights = min(tried, key=lambda pair: round(pair[1].loss, 9))
    return Candidate(head.name, kind, parameter, weights.loss, weights.accuracy, 0.0)


def _shares(found: Sequence[Candidate], problem: CrossValidationData) -> tuple[list[float], str]:
    """Weights of the candidates in the mixture, and one sentence on them."""
    if not problem.fair.any():
        alone = [1.0] + [0.0] * (len(found) - 1)
        return alone, "no label has two videos, so nothing can be held out: the default was taken"
    n = int(problem.fair.any(axis=0).sum())
    loss = np.array([candidate.loss for candidate in found])
    posterior = np.exp(-n * (loss - loss.min()))
    posterior[posterior < _LEAST * posterior.sum()] = 0
    shares = [float(share) for share in posterior / posterior.sum()]
    gain = n * float(loss[0] - loss.min())
    return shares, (
        f"{sum(share > 0 for share in shares)} of {len(found)} candidates share the answer by the "
        f"likelihood of {n} held-out examples; the best is {gain:.1f} nats above the default"
    )


DEFAULT = Familiarity.name
_LEAST_GAIN = 1.0  # standard errors by which another rejector must beat the default


def choices() -> tuple[str, ...]:
    """Values of ``--unknown``: the registered rejectors, and ``auto``."""
    return (AUTO, *registry.names("rejector"))


def fit_rejector(
    name: str,
    signatures: Float32,
    y: Sequence[str],
    groups: Sequence[str],
    logits: Float64 | None,
) -> Rejector:
    """A fitted rejector.

    ``auto`` compares the rejectors on the support set alone: examples whose recording is left out
    against examples whose label is left out. One takes the place of ``familiarity`` only where its
    AUROC is higher by more than a standard error.

    Args:
        name: A registered name or ``auto``.
        signatures: (n, S) float32 of the examples.
        y: n labels.
        groups: n recordings.
        logits: (n, C) logits of the examples by heads that did not learn from them, the columns in
            the order of the sorted labels, or None where the head has none.

    Raises:
        SupportError: the rejector cannot learn from so few examples.
        UnknownNameError: no rejector has this name.
    """
    parts: dict[str, type[Rejector]] = {
        rejector_name: registry.get("rejector", rejector_name)
        for rejector_name in (registry.names("rejector") if name == AUTO else (name,))
    }
    if name == AUTO:
        name = _best(parts, signatures, np.asarray(y), np.asarray(groups), logits)
    part = parts[name]
    if part.reads == "logits" and logits is None:
        raise SupportError(
            f"rejector {name!r} reads the logits of held-out examples, which this method cannot "
            f"give; use {DEFAULT!r}"
        )
    return part().fit(signatures, y, groups, logits)


def keep_right(
    rejector: Rejector,
    signatures: Float32,
    y: Sequence[str],
    groups: Sequence[str],
    logits: Float64 | None,
) -> None:
    """Let a fitted rejector take 95 % of what the folds answer right for known.

    The likelihood of its curve weighs known and unknown alike, and calls many right answers unknown
    where both overlap. Without logits all examples count that their recording leaves another of
    their label; with one recording a label, what half of the examples of other labels reach.

    Args:
        rejector: Fitted on the same examples.
        signatures: (n, S) float32.
        y: n labels.
        groups: n recordings.
        logits: As in ``fit_rejector``.
    """
    label = np.asarray(y)
    held = rejector.hold_out(signatures, label, np.asarray(groups), logits)
    scores = held.known
    if not len(scores) and len(held.unknown):
        scores = np.array([np.median(held.unknown)])
    elif logits is not None and held.rows is not None:
        answers = np.unique(label)[logits.argmax(axis=1)]
        right = np.isfinite(logits).all(axis=1) & (answers == label)
        scores = scores[right[held.rows]]
    rejector.keep(scores)


def separation(scores: HeldOut) -> tuple[float, float]:
    """AUROC of two sets of scores and its standard error (Hanley and McNeil, 1982, eq. 1)."""
    inside, unknown = scores.known, scores.unknown
    is_unknown = np.repeat([False, True], [len(inside), len(unknown)])
    area = auroc(np.concatenate([inside, unknown]), is_unknown)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (len(unknown) - 1) * (q1 - area**2)
    variance += (len(inside) - 1) * (q2 - area**2)
    return area, float(np.sqrt(variance / (len(inside) * len(unknown))))


def _best(
    parts: dict[str, type[Rejector]],
    signatures: Float32,
    label: Any,
    group: Any,
    logits: Float64 | None,
) -> str:
    best: dict[str, tuple[float, float]] = {}
    for name, part in parts.items():
        if part.reads == "logits" and logits is None:
            continue
        scores = part().hold_out(signatures, label, group, logits)
        if len(scores.known) and len(scores.unknown):
            best[name] = separation(scores)
    if DEFAULT not in best:
        return DEFAULT
    area, error = best[DEFAULT]
    name = max(best, key=lambda each: best[each][0])
    return name if best[name][0] > area + _LEAST_GAIN * error else DEFAULT
