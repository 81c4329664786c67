"""A core that answers: which of these labels fits a recording?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy.typing as npt
from typing_extensions import Unpack

from vlar.detecting.focus import make_focus
from vlar.encoders.base import Encoder
from vlar.errors import UsageError
from vlar.fewshot.adapted import AdaptedHead
from vlar.model.classifier import LabelClassifier, Labels, make_classifier
from vlar.model.core import ModelCore
from vlar.model.inputs import (
    DEFAULT_FPS,
    Answer,
    ClassifyOptions,
    Recording,
    encode_one,
    is_one,
    views_of,
    views_of_one,
)
from vlar.model.label_concepts import Descriptions
from vlar.model.label_tree import TreeSource
from vlar.model.pair_labels import composes, pair_probability
from vlar.model.people import PersonAnswers
from vlar.scoring.calibration import Calibration
from vlar.sensors import Views, ViewSampler
from vlar.tables import Results
from vlar.types import Classification, Failure, Float32, Float64


class Recogniser(ModelCore):
    """A core with the head it was adapted to, if it was, and a calibration.

    Args:
        encoder: Frozen towers, or an adapter around them.
        adapted: The head that ``adapt`` made; None for a zero-shot model.
        templates: Name of a prompt set; None for the one that suits the encoder.
        calibration: The curves that ``calibrate`` fitted; None for probabilities by the rule.
        name: What answers call this model; None for the encoder's name.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        adapted: AdaptedHead | None = None,
        templates: str | None = None,
        calibration: Calibration | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(encoder, templates=templates, name=name)
        self.adapted = adapted
        self.calibration = calibration

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels it was adapted to; None for a zero-shot model."""
        return self.adapted.labels if self.adapted else None

    @property
    def default_labels(self) -> tuple[str, ...]:
        """The labels that are answered where none are given; empty where some must be."""
        return self.labels or self.encoder.trained_labels

    @property
    def composes(self) -> bool:
        """Whether it learned verbs and objects apart (``pair_scores``)."""
        return composes(self, self.adapted)

    def pair_scores(
        self, context: npt.NDArray[Any], pair: tuple[str, str]
    ) -> tuple[Float32, Float64]:
        """How well a verb with an object fits each of N windows.

        Args:
            context: (N, k, E) float16 or float32, the context tokens of ``encode``.
            pair: The verb and the object, with or without examples.

        Returns:
            Similarity (N,) float32, -1 to 1, and the pair's probability (N,) among every verb with
            every object that the model learned.

        Raises:
            UsageError: the model did not learn verbs and objects.
        """
        if self.adapted is None or not composes(self, self.adapted):
            raise UsageError(
                f"model {self.name!r} did not learn verbs and objects apart; adapt it with the "
                "method c2c"
            )
        return pair_probability(self, self.adapted, context, pair)

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by; an adapted model learned from one each."""
        sampler = super().view_sampler
        return sampler if self.adapted is None else sampler.one_view

    def classifier(
        self,
        labels: Labels | None = None,
        *,
        mode: str = "one",
        descriptions: Descriptions = "auto",
        tree: TreeSource | None = None,
    ) -> LabelClassifier:
        """A label list bound to the head that scores clips; see ``classify``."""
        return make_classifier(
            self,
            labels,
            adapted=self.adapted,
            calibration=self.calibration,
            mode=mode,
            descriptions=descriptions,
            tree=tree,
        )

    @overload
    def classify(
        self,
        recordings: Recording,
        labels: Labels | None = None,
        *,
        every_s: None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Classification: ...

    @overload
    def classify(
        self,
        recordings: Recording,
        labels: Labels | None = None,
        *,
        every_s: float,
        **options: Unpack[ClassifyOptions],
    ) -> Results[Answer]: ...

    @overload
    def classify(
        self,
        recordings: list[Any] | tuple[Any, ...],
        labels: Labels | None = None,
        *,
        every_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Results[Answer]: ...

    @overload
    def classify(
        self,
        recordings: Iterator[Recording],
        labels: Labels | None = None,
        *,
        every_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Iterator[Answer]: ...

    def classify(
        self,
        recordings: Recording | Iterable[Recording],
        labels: Labels | None = None,
        *,
        top: int = 5,
        every_s: float | None = None,
        mode: str = "one",
        descriptions: Descriptions = "auto",
        tree: TreeSource | None = None,
        fps: float = DEFAULT_FPS,
        shots: bool = False,
        who: str | None = None,
        zoom: str | None = None,
        detector: str | None = None,
    ) -> Classification | Results[Answer] | Iterator[Answer]:
        """Classify recordings: which label fits?

        An answer is the same alone and in company; labels are checked before a recording is opened.

        Args:
            recordings: A path (a recording, or a folder of frames), an array of frames
                (T, H, W, 3) or a picture (H, W, 3) in uint8 RGB, a PIL image, or a ``Clip``; or a
                list of these; or an iterator of these.
            labels: A list of labels, a comma separated string, a file, or ``bank:NAME``. An
                adapted model has its own. A single label is a yes/no question.
            top: How many labels to return.
            every_s: Seconds; gives one answer for each such span. None answers for the whole.
            mode: ``one``: the labels exclude each other; ``multi``: each has its own probability.
            descriptions: ``auto``, ``none`` or kinds, see ``vlar.model.label_concepts``.
            tree: A label tree, its JSON file, ``bank:NAME`` or ``text``; adds ``coarse`` labels.
            fps: Frames a second of an array; default 25.
            shots: Judge a video by its shots where it has cuts (``vlar models get shots``).
            who: One person to judge: ``the person on the left``, ``person 2``.
            zoom: ``person``: judge a cut around who moves too; ``auto``: only where small.
            detector: Spec of what finds people (``vlar.parts("detector")``); docs/who.md.

        Returns:
            One recording without ``every_s``: its answer. A list, or ``every_s``: a list and table
            (``vlar.Results``) with a ``Failure`` for each recording or span that cannot be read.
            An iterator: the same, one after the other, as they are needed.

        Raises:
            DecodeError: a single recording cannot be read.
            PersonError: ``who`` counts beyond the people of the recording.
            LabelError, UsageError: the label list, an input or ``who`` cannot be used.
        """
        focus = make_focus(who, zoom, detector)
        sampler = self.view_sampler.shot_by_shot if shots else self.view_sampler
        classifier = self.classifier(labels, mode=mode, descriptions=descriptions, tree=tree)
        people = PersonAnswers(self, classifier, focus, sampler) if focus else None
        if people and is_one(recordings) and every_s is None:
            return people.answer(views_of_one(recordings, sampler, fps), top)
        if is_one(recordings) and every_s is None:
            span = encode_one(self, recordings, sampler, fps)
            return classifier.answer(span, top=top, model=self.name)
        listed: Iterable[Recording] = [recordings] if is_one(recordings) else recordings
        views = views_of(listed, sampler, every_s, fps)
        answers = people.each(views, top) if people else self._answers(views, classifier, top)
        return answers if isinstance(recordings, Iterator) else Results(answers)

    def _answers(
        self,
        views: Iterable[Views | Failure],
        classifier: LabelClassifier,
        top: int,
    ) -> Iterator[Answer]:
        for span in self.encode_spans(views):
            good = not isinstance(span, Failure)
            yield classifier.answer(span, top=top, model=self.name) if good else span
