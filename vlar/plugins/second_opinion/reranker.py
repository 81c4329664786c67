"""Re-rank the hits of a query by an answerer: ``vlar query LIBRARY TEXT --rerank self:motion``.

For each of the best windows a multiple-choice question is asked: the phrase, and the everyday
actions that the library's model finds most similar to this window. The probability of the phrase
by the answerer, against chance, then joins the model's own::

    logit p' = logit p + b (logit h - logit 1/K)

An answerer without information (``h = 1/K``) changes nothing. Without a weight one that is not
sure changes nothing either (``vlar.generators.opinions.mixing.heard``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vlar.errors import UsageError
from vlar.generators.opinions.asking import Opinion, UsageCounter, ask
from vlar.generators.opinions.base import Answerer, MediaItem, load_answerer
from vlar.generators.opinions.mixing import heard
from vlar.generators.opinions.question import Question, check_count, distinct, normalised
from vlar.generators.opinions.rerank import K, StopRule
from vlar.language.bank import load_bank
from vlar.library.query.rerankers import Reranker, Rescored, RowReader
from vlar.library.rows import RowPerson
from vlar.media.lookup import reader
from vlar.model.library_model import LibraryModel
from vlar.people.crop import cut
from vlar.people.people import CONTEXT
from vlar.registry import register
from vlar.types import Clip, Float32, Float64, Window

BANK = "everyday_actions"
_FEWEST_ROWS = 20
_ROWS_PER_ANSWER = 2
_SAME = 0.8  # cosine of two sentences that may mean the same action
_DOUBT = 0.02


@register("reranker", "opinion")
class AnswererReranker(Reranker):
    """Scores windows by the opinion of another answerer.

    Args:
        answerer: The answerer.
        name: Name for the report.
        k: Options of a question, 2 to 26, the phrase included.
        weight: Weight b of the answerer; None counts little, and only where it is sure.

    Raises:
        UsageError: ``k`` is not 2 to 26.
    """

    def __init__(
        self, answerer: Answerer, name: str, *, k: int = K, weight: float | None = None
    ) -> None:
        check_count(k)
        self.name = name
        self.tally = UsageCounter()
        self._answerer, self._k = answerer, k
        self._weight = weight
        self._stop = StopRule()
        self._options: dict[str, tuple[list[str], Float32]] = {}

    @classmethod
    def of(cls, spec: str = "") -> AnswererReranker:
        """Load a re-ranker by the spec of an answerer, such as ``self:motion``.

        Raises:
            UsageError: no answerer is named.
        """
        if not spec:
            raise UsageError("re-ranker 'opinion' asks an answerer; name it, such as self:motion")
        return cls(load_answerer(spec), spec)

    @classmethod
    def applies(cls, model: LibraryModel) -> bool:
        """Only on request."""
        return False

    def head(self, k: int) -> int:
        """Twice the answers, 20 at least: each costs questions."""
        return max(_FEWEST_ROWS, _ROWS_PER_ANSWER * k)

    @property
    def notes(self) -> Sequence[str]:
        """Cost, and why windows keep their scores."""
        if not self.tally.clips:
            return (f"{self.name} was not asked",)
        why = [] if self._stop.reason is None else [f"not asked any more: {self._stop.reason}"]
        return (f"{self.name}: {self.tally.sentence()}", *why)

    @property
    def failed(self) -> int:
        """Windows that got no new score, though they should."""
        return self.tally.clips - self.tally.opinions

    def rescore(
        self, phrase: str, row_ids: Sequence[int], rows: RowReader, model: LibraryModel
    ) -> Mapping[int, Rescored]:
        """New scores of the windows that the answerer has a sure opinion of, by row id."""
        if not len(row_ids):
            return {}
        (query,) = model.encode_queries([phrase])
        vectors = rows.vectors(row_ids)
        probabilities = np.asarray(model.match_probability(vectors, query), np.float64)
        windows, people = rows.windows(row_ids), rows.people(row_ids)
        rescored: dict[int, Rescored] = {}
        for index, row_id in enumerate(row_ids):
            if self._stop.reason is not None:
                break
            path, window = windows[row_id]
            shown = _shown(model, Path(path), window, people.get(row_id))
            opinion = self._ask(phrase, vectors[index], shown, model)
            if opinion.probability is None:
                continue
            shares, weight = heard(opinion.probability[None], self._weight)
            if np.isfinite(shares).all():
                new = _mixed(float(probabilities[index]), shares[0], weight)
                rescored[row_id] = Rescored(float(vectors[index] @ query), new)
        return rescored

    def close(self) -> None:
        """Stop waiting for answers, and write what is not written yet."""
        self._answerer.close()

    def _ask(self, phrase: str, vector: Float32, shown: MediaItem, model: LibraryModel) -> Opinion:
        texts, concepts = self._wrong_options(phrase, model)
        nearest = np.argsort(-(concepts @ vector), kind="stable")[: self._k - 1]
        options = (phrase, *(texts[n] for n in nearest))
        opinion = ask(self._answerer, shown, Question(options, truth=0))
        self.tally.add(opinion)
        self._stop.take(opinion)
        return opinion

    def _wrong_options(self, phrase: str, model: LibraryModel) -> tuple[list[str], Float32]:
        """Everyday actions that do not mean the phrase, and their vectors (B, D)."""
        if phrase not in self._options:
            from vlar.encoders.sentence_tower import sentence_vectors

            texts, concepts, sentences = self._bank(model)
            near = sentences @ sentence_vectors([phrase])[0]
            plain = normalised(phrase)
            candidates = [
                n for n, text in enumerate(texts) if near[n] < _SAME and normalised(text) != plain
            ]
            self._options[phrase] = [texts[n] for n in candidates], concepts[candidates]
        return self._options[phrase]

    def _bank(self, model: LibraryModel) -> tuple[list[str], Float32, Float32]:
        from vlar.encoders.sentence_tower import sentence_vectors

        if model.fingerprint not in self._banks:
            every = load_bank(BANK).texts
            texts = [every[n] for n in distinct(every)]
            self._banks[model.fingerprint] = (
                texts,
                model.encode_queries(texts),
                sentence_vectors(texts),
            )
        return self._banks[model.fingerprint]

    @cached_property
    def _banks(self) -> dict[str, tuple[list[str], Float32, Float32]]:
        return {}


def _mixed(probability: float, shares: Float64, weight: float) -> float:
    """Probability of the phrase, option 0, after the opinion (K,) on it."""
    k = len(shares)
    share = (1 - _DOUBT) * float(shares[0]) + _DOUBT / k
    odds = _logit(probability) + weight * (_logit(share) - _logit(1 / k))
    return float(1 / (1 + np.exp(-np.clip(odds, -50, 50))))


def _shown(model: LibraryModel, path: Path, window: Window, person: RowPerson | None) -> MediaItem:
    """The clip of a row, read when it is asked for."""

    def read() -> Clip:
        clip = reader(model.modality).read_clip(path, window, model.sampling)
        return clip if person is None else _around(person, clip)

    return MediaItem(path, window, read, "" if person is None else repr(person.box))


def _around(person: RowPerson, clip: Clip) -> Clip:
    """The clip cut to where a person is in its middle, with as much around as in an ``add``."""
    height, width = clip.data.shape[1:3]
    box = np.array([0, *person.box], np.float32) * (1, width, height, width, height)
    boxes = np.repeat(box[None].astype(np.float32), len(clip.data), axis=0)
    return replace(clip, data=cut(clip.data, boxes, margin=CONTEXT))


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))
