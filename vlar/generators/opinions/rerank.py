"""A second opinion on answers: the best K labels of a clip are put to another answerer.

The two opinions are mixed (``vlar.generators.opinions.mixing``). Where the answerer has none,
because it does not answer in time, refuses, or writes what names no label, the first answer stands
with a note.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlar.errors import VlarError
from vlar.generators.opinions.asking import Opinion, UsageCounter, ask
from vlar.generators.opinions.base import Answerer, MediaItem
from vlar.generators.opinions.mixing import OpinionWeights, margins, mix, sure
from vlar.generators.opinions.question import NONE, Question, check_count, distinct, is_none
from vlar.heads.base import UNKNOWN_THRESHOLD
from vlar.language.clean import clean_label
from vlar.language.tree import Tree
from vlar.model.core import ModelCore
from vlar.types import Classification, Failure, JsonDict, Prediction, Window

if TYPE_CHECKING:
    from vlar.model.model import Model

K = 5
_STOP_AFTER = 3  # clips in a row without an answer: the answerer is gone
_TRANSIENT = ("timeout", "no_answer")
_log = logging.getLogger("vlar")


class SecondOpinion:
    """Asks an answerer about the best K labels of each answer, and mixes both.

    Example::

        second = SecondOpinion(load_answerer("self:motion"), "self:motion")
        rows = model.classify(paths, labels, top=second.top(len(labels)))
        for row in second.reviewed(rows, model):
            print(row.label, row.second_opinion)

    Args:
        answerer: The answerer.
        name: What answers call it.
        k: Labels to ask about, 2 to 26.
        weights: How much it counts, and when it is asked.
        rotations: Orders of the options to ask; None for all K.
        none: Add the option "none of these", which stands for ``unknown``.

    Raises:
        UsageError: the options are not 2 to 26.
    """

    def __init__(
        self,
        answerer: Answerer,
        name: str,
        *,
        k: int = K,
        weights: OpinionWeights | None = None,
        rotations: int | None = None,
        none: bool = False,
    ) -> None:
        check_count(k + none)
        self.none = none
        self.answerer, self.name, self.k = answerer, name, k
        self.weights = weights or OpinionWeights()
        self.rotations = rotations
        self.tally = UsageCounter()
        self._stop = StopRule()

    @staticmethod
    def top(n_labels: int, top: int = K) -> int:
        """Number of labels that an answer must list to be reviewed: all, so that a tree adds up."""
        return max(n_labels, top)

    def reviewed(
        self,
        rows: Iterable[Classification | Failure],
        model: Model | ModelCore,
        *,
        top: int = K,
        tree: Tree | None = None,
    ) -> Iterator[Classification | Failure]:
        """Answers about recordings, with the second opinion.

        Args:
            rows: Answers of ``Model.classify`` that list all labels (``SecondOpinion.top``).
            model: The model that gave them; its reader reads the clips again.
            top: Labels that an answer keeps.
            tree: The label tree of the answers, where they have coarse labels.
        """
        for row in rows:
            if isinstance(row, Failure):
                yield row
                continue
            opinion = self.review(row, shown_of(model, row.path, row.start_s, row.end_s), tree)
            yield replace(
                opinion, predictions=opinion.predictions[:top], coarse=opinion.coarse[:top]
            )

    def review(
        self, row: Classification, shown: MediaItem, tree: Tree | None = None
    ) -> Classification:
        """One answer with the second opinion; it keeps all labels."""
        if self.weights.margin <= 1 and _margin(row) >= self.weights.margin:
            return replace(row, second_opinion=_facts(self.name, skipped=True))
        chosen = self._chosen(row)
        if len(chosen) < 2:
            return replace(row, second_opinion=_facts(self.name, error="fewer than two labels"))
        if self._stop.reason is not None:
            return replace(row, second_opinion=_facts(self.name, error=self._stop.reason))
        question = self._question(row, chosen)
        opinion = ask(self.answerer, shown, question, rotations=self.rotations)
        self.tally.add(opinion)
        self._stop.take(opinion)
        if opinion.probability is None:
            kind, message = opinion.error or ("unread", "no opinion")
            _log.debug("%s: no second opinion (%s): %s", row.path, kind, message)
            facts = _facts(self.name, opinion, error=message)
            return replace(row, second_opinion=facts)
        return self._mixed(row, question, opinion, tree)

    def close(self) -> None:
        """Stop waiting for answers, and write what is not written yet."""
        self.answerer.close()

    def _chosen(self, row: Classification) -> list[int]:
        """Places of the best K labels; two labels that read the same are one option."""
        places = distinct(clean_label(p.label) for p in row.predictions)
        return [n for n in places if row.predictions[n].probability > 0][: self.k]

    def _question(self, row: Classification, chosen: list[int]) -> Question:
        """Question about the chosen labels; "none of these" comes behind all predictions."""
        texts = [clean_label(row.predictions[n].label) for n in chosen]
        if self.none and not any(map(is_none, texts)):
            texts, chosen = [*texts, NONE], [*chosen, len(row.predictions)]
        return Question(tuple(texts), tuple(chosen))

    def _mixed(
        self, row: Classification, question: Question, opinion: Opinion, tree: Tree | None
    ) -> Classification:
        probabilities = [p.probability for p in row.predictions]
        before = np.array([[*probabilities, row.unknown_probability]])
        chosen, weights = np.array([question.columns]), self.weights.mixing
        assert opinion.probability is not None
        shares = opinion.probability
        heard = sure(shares[None], self.weights.lead)
        after = mix(before, heard, chosen, a=weights.a, b=weights.b)[0]
        unknown, after = float(after[-1]), after[:-1]
        order = np.argsort(-after, kind="stable")
        labels = [*(p.label for p in row.predictions), NONE]
        named = {labels[n]: float(share) for n, share in zip(question.columns, shares, strict=True)}
        unsure = bool(np.isnan(heard).any())
        return replace(
            row,
            predictions=tuple(
                replace(row.predictions[n], probability=float(after[n])) for n in order
            ),
            coarse=_coarse(row, after, tree),
            unknown=unknown > UNKNOWN_THRESHOLD if len(row.predictions) in chosen else row.unknown,
            unknown_probability=unknown,
            second_opinion=_facts(self.name, opinion, named, unsure=unsure),
        )


@dataclass
class StopRule:
    """Rule that ends the questions: after a refusal, or three clips in a row in vain.

    Attributes:
        reason: Reason of the end; None before it.
    """

    reason: str | None = None
    _in_vain: int = field(default=0, repr=False)

    def take(self, opinion: Opinion) -> None:
        """Count an opinion."""
        if opinion.error is None:
            self._in_vain = 0
            return
        kind, message = opinion.error
        self._in_vain = self._in_vain + 1 if kind in _TRANSIENT else 0
        if opinion.final or self._in_vain >= _STOP_AFTER:
            self.reason = message


def shown_of(model: Model | ModelCore, path: Path, start_s: float, end_s: float) -> MediaItem:
    """A span of a recording, read as the model reads it when somebody needs its frames."""
    window = Window(start_s, end_s)
    sampler = model.view_sampler.one_view
    return MediaItem(path, window, lambda: sampler.sample(path, window)[0])


def _margin(row: Classification) -> float:
    return float(margins(np.array([[p.probability for p in row.predictions]]))[0])


def _coarse(
    row: Classification, after: Sequence[float], tree: Tree | None
) -> tuple[Prediction, ...]:
    """Coarse labels with what their fine labels gained or lost."""
    if not row.coarse or tree is None:
        return row.coarse
    gained: dict[str, float] = {}
    for old, new in zip(row.predictions, after, strict=True):
        try:
            top = tree.top(old.label)
        except VlarError:
            continue
        gained[top] = gained.get(top, 0.0) + float(new) - old.probability
    moved = [
        replace(
            prediction,
            probability=min(
                max(prediction.probability + gained.get(prediction.label, 0.0), 0.0), 1.0
            ),
        )
        for prediction in row.coarse
    ]
    return tuple(sorted(moved, key=lambda each: -each.probability))


def _facts(
    name: str,
    opinion: Opinion | None = None,
    named: Mapping[str, float] | None = None,
    *,
    error: str | None = None,
    skipped: bool = False,
    unsure: bool = False,
) -> JsonDict:
    """Facts of an answer about a second opinion."""
    shares = {label: round(share, 6) for label, share in (named or {}).items()}
    best = max(shares, key=shares.__getitem__) if shares else None
    facts: JsonDict = {"answerer": name, "label": best, "probability": shares}
    facts |= {"error": error} if error is not None else {}
    facts |= {"skipped": True} if skipped else {}
    facts |= {"unsure": True} if unsure else {}
    if opinion is not None:
        tokens = opinion.tokens_in + opinion.tokens_out
        facts |= {"seconds": round(opinion.seconds, 3), "tokens": tokens}
    return facts
