"""Which signature and which head suit a support set, decided by the support set alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlar import registry
from vlar.fewshot.base import FewShotHead
from vlar.fewshot.mixing import Weights, fit_weights
from vlar.fewshot.problem import Problem, make_problem
from vlar.fewshot.statistics import BlockLike, available_terms, parse_kind, signature, terms
from vlar.types import Float32, Float64, JsonDict

# Tried in this order; the first that an encoder can fill is the default. The order is the one of
# the mean held-out loss on clips that no figure of ours is reported on.
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
HEADS = ("ridge", "prototype", "cache")
AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """One way to use the examples and what it reaches on examples held out of the support set.

    Attributes:
        head: Registered name.
        kind: Signature kind.
        parameter: The head's parameter.
        loss: Mean negative log-likelihood in nats, caution included; lower is better.
        accuracy: Share of held-out examples recognised; NaN if none can be held out.
    """

    head: str
    kind: str
    parameter: float
    loss: float
    accuracy: float

    def to_dict(self) -> JsonDict:
        """JSON object; an unknown accuracy is null."""
        return {
            "head": self.head,
            "kind": self.kind,
            "parameter": self.parameter,
            "loss": round(self.loss, 4),
            "accuracy": None if np.isnan(self.accuracy) else round(self.accuracy, 4),
        }


@dataclass(frozen=True)
class Choice:
    """What was tried, what was taken, and why.

    Attributes:
        candidates: One a head and kind (with its best parameter), the default first.
        chosen: The one that was taken.
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
        lines = ["  head       held-out accuracy   loss  signature"]
        for row in sorted(self.candidates, key=lambda c: c.loss):
            accuracy = "  none" if np.isnan(row.accuracy) else f"{row.accuracy:6.1%}"
            star = "*" if row == self.chosen else " "
            lines.append(f"{star} {row.head:10s} {accuracy:>17s} {row.loss:6.2f}  {row.kind}")
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
    """Fit the head and the signature that suit a support set best, and say how they were found.

    Args:
        features: (n, T, F) frame features of the examples.
        blocks: The parts of F (``encoder.frame_blocks``).
        y: n labels.
        zero_shot: (n, C) similarities of the examples to the labels' texts, or None.
        labels: Order of the C columns; default the sorted labels of ``y``.
        groups: n groups (videos), held out as one; default every example its own.
        method: ``auto``, or the name of a head, for which only the signature is chosen.
        kinds: Signature kinds to try instead of the built-in ones, the default first.

    Returns:
        The fitted head (its ``kind`` is set) and the choice.

    Raises:
        SupportError: the support set cannot be learnt from.
        UnknownNameError: ``method`` or a term of a kind does not exist.
        UsageError: a given kind reads blocks that the features do not have.
    """
    heads = HEADS if method == AUTO else (method,)
    parts: list[type[FewShotHead]] = [registry.get("fewshot", name) for name in heads]
    problem = make_problem(y, zero_shot, labels, groups)
    tried = _kinds_for(blocks) if kinds is None else tuple(kinds)
    found = [
        _best_parameter(part(), kind, gram, problem)
        for kind, gram in _grams(features, blocks, tried)
        for part in parts
    ]
    index, why = _decide(found, problem)
    chosen = found[index][0]
    head: FewShotHead = registry.get("fewshot", chosen.head)()
    head.kind = chosen.kind
    head.fit(
        signature(features, blocks, chosen.kind),
        y,
        zero_shot,
        labels=labels,
        groups=groups,
        parameter=chosen.parameter,
    )
    return head, Choice(tuple(candidate for candidate, _ in found), chosen, why)


def _kinds_for(blocks: Sequence[BlockLike]) -> tuple[str, ...]:
    """The built-in kinds without the terms these features cannot fill, each once."""
    there = available_terms(blocks)
    cut = ("+".join(t for t in kind.split("+") if t.partition(":")[0] in there) for kind in KINDS)
    return tuple(dict.fromkeys(kind for kind in cut if kind))


def _grams(
    features: Float32, blocks: Sequence[BlockLike], kinds: Sequence[str]
) -> Iterator[tuple[str, Float64]]:
    weights = {kind: parse_kind(kind) for kind in kinds}
    names = tuple(dict.fromkeys(name for terms_ in weights.values() for name in terms_))
    vectors: Mapping[str, Float32] = terms(features, blocks, names)
    of_term = {name: v.astype(np.float64) @ v.T.astype(np.float64) for name, v in vectors.items()}
    for kind, of_kind in weights.items():
        total = sum(weight**2 for weight in of_kind.values())
        yield kind, np.sum([of_term[n] * (w**2 / total) for n, w in of_kind.items()], axis=0)


def _best_parameter(
    head: FewShotHead, kind: str, gram: Float64, problem: Problem
) -> tuple[Candidate, Weights]:
    tried = [(p, fit_weights(head, head.hold_out(gram, problem, p), problem)) for p in head.grid]
    parameter, weights = min(tried, key=lambda pair: round(pair[1].loss, 9))
    return Candidate(head.name, kind, parameter, weights.loss, weights.accuracy), weights


def _decide(found: Sequence[tuple[Candidate, Weights]], problem: Problem) -> tuple[int, str]:
    """The best held-out loss, if its lead over the default is more than its standard error."""
    example = np.nonzero(problem.fair)[1]
    if not len(example):
        return 0, "no label has two videos, so nothing can be held out: the default was taken"
    best = min(range(len(found)), key=lambda i: round(found[i][0].loss, 9))
    if best == 0:
        return 0, "the default has the lowest loss on held-out examples"
    gain = found[0][1].losses - found[best][1].losses
    per_example = (
        np.bincount(example, gain)[np.unique(example)] / np.bincount(example)[np.unique(example)]
    )
    lead = float(per_example.mean())
    error = (
        float(per_example.std(ddof=1) / np.sqrt(len(per_example)))
        if len(per_example) > 1
        else np.inf
    )
    if lead <= error:
        return 0, (
            f"the default was kept: {found[best][0].head} on {found[best][0].kind} leads by only "
            f"{lead:.2f} nats with a standard error of {error:.2f}"
        )
    return best, (
        f"lowest loss on held-out examples, {lead:.2f} nats below the default "
        f"(standard error {error:.2f})"
    )
