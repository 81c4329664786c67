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
from vlar.generators.opinions.mixing import heard, mix
from vlar.generators.opinions.question import Question, check_count, distinct
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
        weight: How much it counts, 0 or more; None counts little, and only where it is sure.

    Raises:
        UsageError: the options are not 2 to 26.
    """

    def __init__(
        self, answerer: Answerer, name: str, *, k: int = K, weight: float | None = None
    ) -> None:
        check_count(k)
        self.answerer, self.name, self.k, self.weight = answerer, name, k, weight
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
        chosen = self._chosen(row)
        if len(chosen) < 2:
            return replace(row, second_opinion=_facts(self.name, error="fewer than two labels"))
        if self._stop.reason is not None:
            return replace(row, second_opinion=_facts(self.name, error=self._stop.reason))
        texts = tuple(clean_label(row.predictions[n].label) for n in chosen)
        question = Question(texts, tuple(chosen))
        opinion = ask(self.answerer, shown, question)
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

    def _mixed(
        self, row: Classification, question: Question, opinion: Opinion, tree: Tree | None
    ) -> Classification:
        before = np.array([[p.probability for p in row.predictions]])
        shares = opinion.probability
        assert shares is not None
        counted, weight = heard(shares[None], self.weight)
        after = mix(before, counted, np.array([question.columns]), b=weight)[0]
        order = np.argsort(-after, kind="stable")
        named = {
            row.predictions[n].label: float(share)
            for n, share in zip(question.columns, shares, strict=True)
        }
        return replace(
            row,
            predictions=tuple(
                replace(row.predictions[n], probability=float(after[n])) for n in order
            ),
            coarse=_coarse(row, after, tree),
            second_opinion=_facts(self.name, opinion, named, unsure=bool(np.isnan(counted).any())),
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
    unsure: bool = False,
) -> JsonDict:
    """Facts of an answer about a second opinion."""
    shares = {label: round(share, 6) for label, share in (named or {}).items()}
    best = max(shares, key=shares.__getitem__) if shares else None
    facts: JsonDict = {"answerer": name, "label": best, "probability": shares}
    facts |= {"error": error} if error is not None else {}
    facts |= {"unsure": True} if unsure else {}
    if opinion is not None:
        tokens = opinion.tokens_in + opinion.tokens_out
        facts |= {"seconds": round(opinion.seconds, 3), "tokens": tokens}
    return facts
