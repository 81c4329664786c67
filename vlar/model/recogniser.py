"""The part of a model that answers which label fits a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vlar.detecting.focus import make_focus
from vlar.fewshot.adapted import AdaptedHead
from vlar.model.core import ModelCore
from vlar.model.inputs import Answer, Recording, encode_one, is_one, views_of, views_of_one
from vlar.model.label_heads import LabelClassifier, make_classifier
from vlar.model.people import PersonAnswers
from vlar.model.requests import ClassifyRequest
from vlar.scoring.calibration import Calibration
from vlar.sensors import Views, ViewSampler
from vlar.tables import Results
from vlar.text.labels import LabelSet
from vlar.types import Classification, Failure


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

    def classify(
        self, recordings: Recording | Iterable[Recording], request: ClassifyRequest
    ) -> Classification | Results[Answer] | Iterator[Answer]:
        """The answers about recordings, in the forms that ``Model.classify`` describes."""
        top, every_s, fps = request.top, request.every_s, request.fps
        focus = make_focus(request.who, request.zoom, request.detector)
        sampler = self.view_sampler.shot_by_shot if request.shots else self.view_sampler
        classifier = self.classifier(request.labels)
        people = PersonAnswers(self.core, classifier, focus, sampler) if focus else None
        if people and is_one(recordings) and every_s is None:
            return people.answer(views_of_one(recordings, sampler, fps), top)
        if is_one(recordings) and every_s is None:
            span = encode_one(self.core, recordings, sampler, fps)
            return classifier.answer(span, top=top, model=self.core.name)
        listed: Iterable[Recording] = [recordings] if is_one(recordings) else recordings
        views = views_of(listed, sampler, every_s, fps)
        answers = people.each(views, top) if people else self._answers(views, classifier, top)
        return answers if isinstance(recordings, Iterator) else Results(answers)

    def _answers(
        self, views: Iterable[Views | Failure], classifier: LabelClassifier, top: int
    ) -> Iterator[Answer]:
        for span in self.core.encode_spans(views):
            good = not isinstance(span, Failure)
            yield classifier.answer(span, top=top, model=self.core.name) if good else span
