"""Which signature and which head suit a support set, decided by the support set alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlar import registry
from vlar.fewshot.base import ClosedForm, FewShotHead
from vlar.fewshot.cross_validation import Problem, make_problem
from vlar.fewshot.heads.mixture import Blend
from vlar.fewshot.prior_weighting import fit_weights
from vlar.fewshot.temporal_features import BlockLike, available_terms, join, parse_kind, terms
from vlar.types import Float32, Float64, JsonDict

# Tried in this order; the first that an encoder can fill is the default. The order is a prior from
# the "choose" labels of evals/few_shot.py and matters only where nothing can be held out.
KINDS = (
    "mean+absdiff+rhythm+motion",
    "mean+absdiff+motion",
    "absdiff+motion",
    "std+motion",
    "mean+absdiff+dct+motion",
    "mean+absdiff+dct",
    "mean+absdiff+dct+order",
    "motion",
    "mean+absdiff",
)
# The cache is left to those who ask for it: among the candidates it costs accuracy where the same
# person stands in several labels (measured by evals/few_shot.py on the "choose" labels).
# With bodies (``lite-motion``) these come before them, the default first.
POSE_KINDS = (
    "mean+absdiff+attributes+spectrum",
    "mean+absdiff+attributes:1.5+spectrum",
    "attributes+spectrum",
    "attributes",
)
HEADS = ("ridge", "prototype")
AUTO = "auto"
_LEAST = 0.02  # of the blend; a candidate with less is left out


@dataclass(frozen=True)
class Candidate:
    """One way to use the examples and what it reaches on examples held out of the support set.

    Attributes:
        head: Registered name.
        kind: Signature kind.
        parameter: The head's parameter.
        loss: Mean negative log-likelihood in nats, caution included; lower is better.
        accuracy: Share of held-out examples recognised; NaN if none can be held out.
        share: Weight in the blend that was fitted, 0 to 1.
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
    """What was tried, what was taken, and why.

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


def choose(
    features: Float32,
    blocks: Sequence[BlockLike],
    y: Sequence[str],
    zero_shot: Float32 | None = None,
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    method: str = AUTO,
    kinds: Sequence[str] | None = None,
) -> tuple[FewShotHead, Choice]:
    """Fit the heads and signatures that suit a support set, and say how they were found.

    Ridge and prototype are tried on every signature kind, on examples held out of the support
    set. The likelihood of the held-out examples says how much each may say: with a uniform prior
    over the candidates their posterior is ``exp(-n * loss)``, and the blend averages their scores
    by it.

    Args:
        features: (n, T, F) frame features of the examples.
        blocks: The parts of F (``encoder.frame_blocks``).
        y: n labels.
        zero_shot: (n, C) similarities of the examples to the labels' texts, or None.
        labels: Order of the C columns; default the sorted labels of ``y``.
        groups: n groups (videos), held out as one; default every example its own.
        method: ``auto``, or the name of a head, for which only the signatures are chosen.
        kinds: Signature kinds to try instead of the built-in ones, the default first.

    Returns:
        The fitted head (its ``kind`` is set) and the choice.

    Raises:
        SupportError: the support set cannot be learnt from.
        UnknownNameError: ``method`` or a term of a kind does not exist.
        UsageError: a given kind reads blocks that the features do not have.
    """
    names = HEADS if method == AUTO else (method,)
    parts: list[type[ClosedForm]] = [registry.get("fewshot", name) for name in names]
    problem = make_problem(y, zero_shot, labels, groups)
    tried = _kinds_for(blocks) if kinds is None else tuple(kinds)
    vectors = terms(features, blocks, tuple(dict.fromkeys(t for k in tried for t in parse_kind(k))))
    found = [
        _best_parameter(part(), kind, gram, problem)
        for kind, gram in _grams(vectors, tried)
        for part in parts
    ]
    shares, why = _shares(found, problem)
    candidates = tuple(replace(c, share=share) for c, share in zip(found, shares, strict=True))
    members = [
        (candidate.share, _fitted(candidate, vectors, y, zero_shot, labels, groups))
        for candidate in candidates
        if candidate.share
    ]
    widths = {name: vector.shape[1] for name, vector in vectors.items()}
    head = members[0][1] if len(members) == 1 else Blend.of(members, widths)
    return head, Choice(candidates, max(candidates, key=lambda c: c.share), why)


def _fitted(
    candidate: Candidate,
    vectors: Mapping[str, Float32],
    y: Sequence[str],
    zero_shot: Float32 | None,
    labels: Sequence[str] | None,
    groups: Sequence[str] | None,
) -> ClosedForm:
    head: ClosedForm = registry.get("fewshot", candidate.head)()
    head.kind = candidate.kind
    return head.fit(
        join(vectors, candidate.kind),
        y,
        zero_shot,
        labels=labels,
        groups=groups,
        parameter=candidate.parameter,
    )


def _kinds_for(blocks: Sequence[BlockLike]) -> tuple[str, ...]:
    """The built-in kinds without the terms these features cannot fill, each once."""
    there = available_terms(blocks)
    kinds = (*POSE_KINDS, *KINDS) if "attributes" in there else KINDS
    cut = ("+".join(t for t in kind.split("+") if t.partition(":")[0] in there) for kind in kinds)
    return tuple(dict.fromkeys(kind for kind in cut if kind))


def _grams(vectors: Mapping[str, Float32], kinds: Sequence[str]) -> Iterator[tuple[str, Float64]]:
    of_term = {name: v.astype(np.float64) @ v.T.astype(np.float64) for name, v in vectors.items()}
    for kind in kinds:
        weights = parse_kind(kind)
        total = sum(weight**2 for weight in weights.values())
        yield kind, np.sum([of_term[n] * (w**2 / total) for n, w in weights.items()], axis=0)


def _best_parameter(head: ClosedForm, kind: str, gram: Float64, problem: Problem) -> Candidate:
    tried = [(p, fit_weights(head, head.hold_out(gram, problem, p), problem)) for p in head.grid]
    parameter, weights = min(tried, key=lambda pair: round(pair[1].loss, 9))
    return Candidate(head.name, kind, parameter, weights.loss, weights.accuracy, 0.0)


def _shares(found: Sequence[Candidate], problem: Problem) -> tuple[list[float], str]:
    """Weights of the candidates in the blend, and one sentence for it."""
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
