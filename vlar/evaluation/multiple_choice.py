"""Multiple choice with hard wrong options: how well an answerer recognises actions.

After LLaVAction (Ye et al., "LLaVAction: evaluating and training multi-modal large language models
for action recognition", 2025): the wrong options are those that a strong recogniser, the proposer,
finds most similar. Random wrong options are easy, hard ones are not, and those of the answerer's
own family are hardest for it, so state the proposer with each figure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlar.answering.asking import Opinion, ask
from vlar.answering.parsing import parse_answer
from vlar.answering.question import Question, check_count, distinct
from vlar.errors import UsageError
from vlar.evaluation.intervals import PairedDifference, paired
from vlar.types import Float64, JsonDict

__all__ = ["ChoiceReport", "ask", "make_questions", "parse_answer", "report", "select_options"]

#: How the wrong options are chosen.
KINDS = ("random", "hard", "train", "rerank")
Ints = npt.NDArray[np.int64]


def make_questions(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike | None,
    labels: Sequence[str],
    *,
    kind: str = "hard",
    k: int = 5,
    seed: int = 0,
    perspective: str | None = None,
) -> list[Question]:
    """One question a clip, its options in random order.

    Args:
        scores: (N, C) of the proposer, higher is better.
        truth: (N,) column of the right label; None for ``rerank`` where it is not known.
        labels: C texts. Two with the same text are one option, that of the better score.
        kind: ``random``: the right label and K - 1 others, evenly drawn. ``hard``: the proposer's
            best K; where the right label is not among them, it takes the place of the last.
            ``train``: the right label and K - 1 of the proposer's best 2 K. ``rerank``: the
            proposer's best K and nothing else.
        k: Options, 2 to 26; fewer where there are fewer labels.
        seed: Of all that is drawn; a clip's question does not depend on the other clips.
        perspective: ``first`` or ``third`` person, or None.

    Returns:
        N questions; ``truth`` of each is the place of the right option, None for ``rerank`` where
        it is not among them, and ``injected`` whether it took the place of another.

    Raises:
        UsageError: an unknown kind, an unusable ``k``, or shapes that do not agree.
    """
    rows = np.asarray(scores, np.float64)
    right = None if truth is None else np.asarray(truth, np.int64)
    _check(rows, right, labels, kind)
    check_count(k)
    questions: list[Question] = []
    for n, row in enumerate(rows):
        random = np.random.default_rng([seed, n])
        own = None if right is None else int(right[n])
        columns, injected = select_options(row, own, labels, kind, k, random)
        # Sorted first: equal options of one clip are in an equal order, and asked once.
        shown: list[int] = random.permutation(sorted(columns)).tolist()
        questions.append(
            Question(
                tuple(labels[column] for column in shown),
                tuple(shown),
                shown.index(own) if own in shown else None,
                injected,
                perspective,
            )
        )
    return questions


def select_options(
    row: Float64,
    own: int | None,
    labels: Sequence[str],
    kind: str,
    k: int,
    random: np.random.Generator,
) -> tuple[list[int], bool]:
    """Columns of the options of one clip, and whether the right one was put among them.

    Args:
        row: (C,) scores of the proposer.
        own: Column of the right label, if it is known.
        labels: C texts.
        kind: As for ``make_questions``.
        k: Options.
        random: What draws.

    Raises:
        UsageError: fewer than two labels differ.
    """
    ranked = np.argsort(-row, kind="stable").tolist()
    if kind != "rerank" and own is not None:  # the right label stands for its text
        ranked = [own, *(c for c in ranked if c != own)]
    differing = [ranked[place] for place in distinct(labels[c] for c in ranked)]
    check_count(min(k, len(differing)))
    if kind == "rerank":
        return differing[:k], False
    assert own is not None
    others = [column for column in differing if column != own]
    if kind == "random":
        return [own, *random.permutation(others)[: k - 1].tolist()], False
    if kind == "train":
        return [own, *random.permutation(others[: 2 * k])[: k - 1].tolist()], False
    better = sum((row[c], -c) > (row[own], -own) for c in others)
    return [*others[: k - 1], own], better >= k


def _check(rows: Float64, right: Ints | None, labels: Sequence[str], kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"questions of the kind {kind!r} are unknown; use {', '.join(KINDS)}")
    if rows.ndim != 2 or rows.shape[1] != len(labels):
        raise UsageError(f"scores {rows.shape} for {len(labels)} labels; give (N, C)")
    if right is None and kind != "rerank":
        raise UsageError(f"questions of the kind {kind!r} need the right labels; give truth")
    if right is not None and (
        right.shape != (len(rows),) or (right < 0).any() or (right >= rows.shape[1]).any()
    ):
        raise UsageError(
            f"right labels {right.shape} for scores {rows.shape}; give one column each"
        )


@dataclass(frozen=True)
class ChoiceReport:
    """How an answerer did on questions with one right option each.

    Attributes:
        right: (N,) share of each answer that is right: 1, 0, or 1 / n where n options tie for the
            first place and the right one is among them. No opinion counts 0.
        proposer: (N,) the same of the proposer's scores among the same options.
        first: (N,) whether the first option, as it was shown first, is the right one.
        chance: Mean of 1 / K.
        injected: Share of questions in which the right option was put among them.
        unread: Share of single answers that name no option.
        missing: Share of clips without an opinion.
        letters: (K,) share of each letter among all single answers that could be read.
        by_place: (K,) share of right single answers by the place of the right option; NaN where
            it never stood there.
        against: Answerer minus proposer on the same options, over groups; None with one group.
    """

    right: Float64
    proposer: Float64
    first: Float64
    chance: float
    injected: float
    unread: float
    missing: float
    letters: tuple[float, ...]
    by_place: tuple[float, ...]
    against: PairedDifference | None

    @property
    def accuracy(self) -> float:
        """Mean of ``right``."""
        return float(self.right.mean())

    @property
    def bias(self) -> float:
        """How far the letters are from being chosen evenly: 0, to 1 where one is always chosen."""
        shares = np.array(self.letters)
        even = 1 / len(shares)
        return float(np.abs(shares - even).sum() / (2 * (1 - even)))

    def to_dict(self) -> JsonDict:
        """JSON object, without the rows of single clips."""
        return {
            "accuracy": self.accuracy,
            "proposer": float(self.proposer.mean()),
            "first": float(self.first.mean()),
            "chance": self.chance,
            "injected": self.injected,
            "unread": self.unread,
            "missing": self.missing,
            "letters": list(self.letters),
            "by_place": [None if np.isnan(x) else x for x in self.by_place],
            "bias": self.bias,
            "against_proposer": None if self.against is None else self.against.to_dict(),
        }


def report(
    questions: Sequence[Question],
    opinions: Sequence[Opinion],
    scores: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    rotations: Sequence[int] | None = None,
) -> ChoiceReport:
    """How the answerer did; see ``ChoiceReport``.

    Args:
        questions: N questions with their right options.
        opinions: N, as ``ask`` gave them.
        scores: (N, C) of the proposer.
        groups: N groups of clips; None for each clip by itself.
        rotations: The shifts that ``ask`` used; None for all K, or the one of an answerer that
            the order makes no difference to.

    Raises:
        UsageError: no question, one without a right option, or lengths that differ.
    """
    rows = np.asarray(scores, np.float64)
    if not questions or len(questions) != len(opinions) or len(questions) != len(rows):
        raise UsageError(
            f"{len(questions)} questions, {len(opinions)} opinions and {len(rows)} rows of scores; "
            "give one each"
        )
    if any(question.truth is None for question in questions):
        raise UsageError("a question without a right option cannot be judged; use random or hard")
    right = np.array(
        [_credit(o.probability, q.truth) for q, o in zip(questions, opinions, strict=True)]
    )
    proposed = np.array(
        [_credit(row[list(q.columns)], q.truth) for q, row in zip(questions, rows, strict=True)]
    )
    letters, places = _single_answers(questions, opinions, rotations)
    names = list(range(len(questions))) if groups is None else list(groups)
    singles = sum(len(opinion.letters) for opinion in opinions)
    return ChoiceReport(
        right=right,
        proposer=proposed,
        first=np.array([float(q.truth == 0) for q in questions]),
        chance=float(np.mean([1 / len(q) for q in questions])),
        injected=float(np.mean([q.injected for q in questions])),
        unread=sum(opinion.unread for opinion in opinions) / max(singles, 1),
        missing=float(np.mean([opinion.probability is None for opinion in opinions])),
        letters=letters,
        by_place=places,
        against=paired(right, proposed, names),
    )


def _credit(values: Any, truth: int | None) -> float:
    if values is None or truth is None:
        return 0.0
    best = np.isclose(values, np.max(values), rtol=0, atol=1e-9)
    return float(best[truth] / best.sum())


def _single_answers(
    questions: Sequence[Question], opinions: Sequence[Opinion], rotations: Sequence[int] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Share of each letter, and share of right answers by the place of the right option."""
    k = max(len(question) for question in questions)
    chosen, asked, right = np.zeros(k), np.zeros(k), np.zeros(k)
    for question, opinion in zip(questions, opinions, strict=True):
        n = len(opinion.letters)
        shifts = rotations or [number * len(question) // n for number in range(n)]
        for shift, letter in zip(shifts, opinion.letters, strict=False):
            place = question.rotated(shift).truth
            assert place is not None
            asked[place] += 1
            right[place] += letter == place
            if letter is not None:
                chosen[letter] += 1
    shares = chosen / max(chosen.sum(), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(shares.tolist()), tuple((right / asked).tolist())
