"""The part of a model that answers which label fits a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlar.heads.calibration import Calibration
from vlar.language.labels import LabelSet, parse_labels
from vlar.media.views import ViewSampler
from vlar.model.core import EncodedSpan, ModelCore
from vlar.model.inputs import (
    Answer,
    Recording,
    encode_intervals,
    encode_one,
    views_of,
    views_of_one,
)
from vlar.model.label_heads import LabelClassifier, make_classifier
from vlar.model.requests import ClassifyRequest
from vlar.types import Classification, Failure

if TYPE_CHECKING:  # what few ask for is imported by those who do
    from vlar.heads.adapted_head import AdaptedHead
    from vlar.model.people import PersonAnswers
    from vlar.people.focus import Focus


@dataclass(frozen=True)
class Recogniser:
    """A core with the head it was adapted to, if it was, and a calibration.

    Attributes:
        core: The encoder, and the words it compares clips with.
        adapted: The head that ``adapt`` made; None for a zero-shot model.
        calibration: The curves that ``calibrate`` fitted; None for probabilities by the rule.
    """

    core: ModelCore
    adapted: AdaptedHead | None = None
    calibration: Calibration | None = None

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by; an adapted model learned from one each."""
        sampler = self.core.view_sampler
        return sampler if self.adapted is None else sampler.one_view

    def classifier(self, labels: LabelSet) -> LabelClassifier:
        """The labels bound to the head that scores clips."""
        return make_classifier(
            self.core, labels, adapted=self.adapted, calibration=self.calibration
        )

    def classify_one(self, recording: Recording, request: ClassifyRequest) -> Classification:
        """The answer about one recording as a whole; an error is raised as it is."""
        sampler, classifier, people = self._prepared(request)
        if people is not None:
            views = views_of_one(recording, sampler, request.fps, request.window)
            return people.answer(views, request.top)
        span = encode_one(self.core, recording, sampler, request.fps, request.window)
        return classifier.answer(span, top=request.top, model=self.core.name)

    def classify_each(
        self, recordings: Iterable[Recording], request: ClassifyRequest
    ) -> Iterator[Answer]:
        """The answers about recordings or their spans; labels are checked before the first."""
        sampler, classifier, people = self._prepared(request)
        if request.window is not None and self._asks(request):
            spans = encode_intervals(self.core, recordings, sampler, request.window)
            return self._answers(spans, classifier, request.top)
        views = views_of(recordings, sampler, request.every_s, request.fps, request.window)
        if people is not None:
            return people.each(views, request.top)
        return self._answers(self.core.encode_spans(views, costs=True), classifier, request.top)

    def _asks(self, request: ClassifyRequest) -> bool:
        """Return whether an interval is asked of the whole recording."""
        return request.window is not None and self.core.answers_intervals

    def _interval_classifier(self, labels: LabelSet) -> LabelClassifier:
        """The labels as texts: a head of examples has only learned whole recordings."""
        if labels.listed is None and self.adapted is not None:
            labels = replace(labels, listed=parse_labels(list(self.adapted.labels)))
        return make_classifier(self.core, labels)

    def _prepared(
        self, request: ClassifyRequest
    ) -> tuple[ViewSampler, LabelClassifier, PersonAnswers | None]:
        focus = _focus(request)
        sampler = self.view_sampler
        sampler = replace(sampler, reader=request.source) if request.source else sampler
        sampler = sampler.shot_by_shot if request.shots else sampler
        by_texts = self._asks(request)
        make = self._interval_classifier if by_texts else self.classifier
        classifier = make(request.label_set)
        if focus is None:
            return sampler, classifier, None
        from vlar.model.people import PersonAnswers

        return sampler, classifier, PersonAnswers(self.core, classifier, focus, sampler)

    def _answers(
        self, spans: Iterable[EncodedSpan | Failure], classifier: LabelClassifier, top: int
    ) -> Iterator[Answer]:
        for span in spans:
            good = not isinstance(span, Failure)
            yield classifier.answer(span, top=top, model=self.core.name) if good else span


def _focus(request: ClassifyRequest) -> Focus | None:
    if not request.person:
        return None
    from vlar.people.focus import make_focus

    return make_focus(request.who, request.zoom, request.detector)
