"""Clips that could be labelled: what a model answers for recordings, or for a library's windows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlar.errors import EncoderMismatchError, UsageError
from vlar.library import Library
from vlar.model.core import EncodedSpan
from vlar.model.label_heads import LabelClassifier
from vlar.model.model import Model
from vlar.review.order import review_order, uncertainty
from vlar.text.labels import Labels
from vlar.types import Encoded, Failure, Float32, Float64, JsonDict, Window

_SHOWN = 3  # labels of an item


@dataclass(frozen=True)
class ReviewItem:
    """A clip to look at.

    Attributes:
        path: The recording.
        window: The span; None for the whole recording.
        guesses: The most probable labels with their probabilities, best first.
        uncertainty: 0 to 1.
    """

    path: Path
    window: Window | None
    guesses: tuple[tuple[str, float], ...]
    uncertainty: float

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        span = self.window
        return {
            "path": str(self.path),
            "start_s": None if span is None else round(span.start_s, 3),
            "end_s": None if span is None else round(span.end_s, 3),
            "uncertainty": round(self.uncertainty, 6),
            "guesses": [{"label": label, "probability": round(p, 6)} for label, p in self.guesses],
        }


@dataclass(frozen=True)
class Candidates:
    """Clips with what a model answers about them, and those that cannot be read.

    Attributes:
        labels: C labels.
        places: N recordings and spans.
        vectors: (N, D) of unit length.
        probability: (N, C).
        failed: Recordings that cannot be read.
    """

    labels: tuple[str, ...]
    places: Sequence[tuple[Path, Window | None]]
    vectors: Float32
    probability: Float64
    failed: tuple[Failure, ...] = ()

    def first(
        self,
        k: int,
        measure: str = "margin",
        labelled: Collection[tuple[Path, Window | None]] = (),
    ) -> list[ReviewItem]:
        """The ``k`` clips to look at first (``vlar.review.order``).

        Args:
            k: Greatest number of clips.
            measure: Of the uncertainty.
            labelled: Recordings (absolute paths) and spans whose labels are known already: they are
                left out, and clips like them come later.
        """
        unsure = uncertainty(self.probability, measure)
        known = np.array([place in labelled for place in self.places], np.bool_)
        waiting = np.flatnonzero(~known)
        order = review_order(unsure[waiting], self.vectors[waiting], k, self.vectors[known])
        return [self._item(int(waiting[place]), unsure) for place in order]

    def _item(self, place: int, unsure: Float64) -> ReviewItem:
        row = self.probability[place]
        best = np.argsort(-row, kind="stable")[:_SHOWN]
        guesses = tuple((self.labels[i], float(row[i])) for i in best)
        return ReviewItem(*self.places[place], guesses, float(unsure[place]))


def of_recordings(model: Model, paths: Sequence[Path], labels: Labels | None = None) -> Candidates:
    """The answers for whole recordings.

    Raises:
        LabelError: the model has no labels of its own, and none are given.
    """
    spans = model.view_sampler.sample_each((path, None) for path in map(Path.absolute, paths))
    return _candidates(model, model.encode_spans(spans), labels, whole=True)


def of_library(model: Model, library: Library, labels: Labels | None = None) -> Candidates:
    """The answers for the windows of a library.

    A zero-shot model reads the stored vectors. An adapted one may need more than these, so its
    windows are decoded.

    Raises:
        LabelError: the model has no labels of its own, and none are given.
        LibraryError: the library is empty or damaged.
        EncoderMismatchError: it was made by another model.
        UsageError: the text of the model depends on the video.
    """
    if model.conditions_text:
        raise UsageError(
            f"in model {model.name!r} a text has another vector for each video; give recordings "
            "instead of a library"
        )
    rows = library.all_rows()
    times = zip(rows.table.starts_s.tolist(), rows.table.ends_s.tolist(), strict=True)
    paths = [Path(rows.paths[i]) for i in rows.table.video_ids.tolist()]
    places = list(zip(paths, (Window(*each) for each in times), strict=True))
    if model.adapted is not None:
        spans = model.encode_spans(model.view_sampler.sample_each(places))
        return _candidates(model, spans, labels, whole=False)
    if rows.fingerprint != model.fingerprint:
        raise EncoderMismatchError(
            f"library {library.path} was made by another model than {model.name!r}; leave --model "
            "out, or give the library's"
        )
    stored = (
        EncodedSpan(path, window, Encoded(vector[None], vector))
        for (path, window), vector in zip(places, rows.vectors, strict=True)
    )
    return _candidates(model, stored, labels, whole=False)


def _candidates(
    model: Model,
    spans: Iterator[EncodedSpan | Failure],
    labels: Labels | None,
    *,
    whole: bool,
) -> Candidates:
    classifier: LabelClassifier = model.classifier(labels)
    places: list[tuple[Path, Window | None]] = []
    vectors: list[Float32] = []
    probability: list[Float64] = []
    failed: list[Failure] = []
    for span in spans:
        if isinstance(span, Failure):
            failed.append(span)
            continue
        places.append((span.path, None if whole else span.window))
        vectors.append(span.encoded.vector)
        probability.append(classifier.scores([span.encoded]).probability[0])
    width = len(classifier.labels)
    return Candidates(
        classifier.labels,
        places,
        np.stack(vectors) if vectors else np.zeros((0, model.dim), np.float32),
        np.stack(probability) if probability else np.zeros((0, width)),
        tuple(failed),
    )
