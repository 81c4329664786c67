"""The face of a model: a core with the head it was adapted to, and a calibration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, overload

from typing_extensions import Unpack

from vlar.adapters.base import load_any
from vlar.encoders.base import Encoder
from vlar.errors import UsageError
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.report import AdaptReport
from vlar.fewshot.request import Objectives
from vlar.fewshot.support import Support
from vlar.model.adapt import FAMILIARITY, Adapted, adapt
from vlar.model.calibrate import calibrate
from vlar.model.classifier import LabelClassifier, Labels, make_classifier
from vlar.model.core import ModelCore
from vlar.model.folder import (
    SavedModel,
    is_model_folder,
    read_model,
    write_model,
)
from vlar.model.inputs import (
    DEFAULT_FPS,
    Answer,
    ClassifyOptions,
    Recording,
    encode_one,
    is_one,
    views_of,
)
from vlar.model.label_concepts import Descriptions
from vlar.scoring.calibration import Calibration
from vlar.sensors import ViewSampler
from vlar.types import Classification, Failure, ProgressCallback


def load(
    spec: str | Path = "lite", *, device: str | None = None, dtype: str | None = None
) -> Model:
    """Load the model that a name stands for.

    Args:
        spec: An encoder (``lite``, ``openclip:ARCH/TAG``, ``hf:ORG/NAME``), an adapter with its
            checkpoint (``tc-clip:FILE.pth``), or a model folder.
        device: ``cpu``, ``cuda``, ``cuda:1``; None for the encoder's default.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None for the encoder's default.

    Raises:
        UnknownNameError: neither a folder nor a known encoder or adapter.
        ModelError: the folder or the encoder's weights are missing, changed or malformed.
        UsageError: the encoder cannot run on the device or with the number type.
    """
    if is_model_folder(spec):
        saved = read_model(spec, device=device, dtype=dtype)
        return Model(
            saved.encoder,
            adapted=saved.adapted,
            templates=saved.templates,
            calibration=saved.calibration,
            name=str(spec),
        )
    return Model(load_any(str(spec), device, dtype))


class Model(ModelCore):
    """Maps clips and words into one space and answers which label fits.

    Example::

        model = vlar.load()
        answer = model.classify("clip.mp4", ["riding a bike", "cooking"])
        answer.label, answer.predictions[0].probability

    Args:
        encoder: Frozen towers, or an adapter around them.
        adapted: The head that ``adapt`` made; None for a zero-shot model.
        templates: Name of a prompt set; None for the one that suits the encoder.
        calibration: The curves that ``calibrate`` fitted; None for probabilities by the rule.
        name: What answers call this model; None for the encoder's name.
        report: How it was adapted.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        adapted: AdaptedHead | None = None,
        templates: str | None = None,
        calibration: Calibration | None = None,
        name: str | None = None,
        report: AdaptReport | None = None,
    ) -> None:
        super().__init__(encoder, templates=templates, name=name)
        self.adapted = adapted
        self.calibration = calibration
        self._report = report

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels it was adapted to; None for a zero-shot model."""
        return self.adapted.labels if self.adapted else None

    @property
    def report(self) -> AdaptReport:
        """How this model was adapted.

        Raises:
            UsageError: it was not, or it was loaded from a folder (its ``vlar.json`` has it).
        """
        if self._report is None:
            raise UsageError(f"model {self.name!r} has no report of an adaptation")
        return self._report

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by; an adapted model learned from one each."""
        sampler = super().view_sampler
        return sampler if self.adapted is None else sampler.one_view

    # Answers

    def classifier(
        self,
        labels: Labels | None = None,
        *,
        mode: str = "one",
        descriptions: Descriptions = "auto",
    ) -> LabelClassifier:
        """A label list bound to the head that scores clips; see ``classify``."""
        return make_classifier(
            self,
            labels,
            adapted=self.adapted,
            calibration=self.calibration,
            mode=mode,
            descriptions=descriptions,
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
    ) -> list[Answer]: ...

    @overload
    def classify(
        self,
        recordings: list[Any] | tuple[Any, ...],
        labels: Labels | None = None,
        *,
        every_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> list[Answer]: ...

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
        fps: float = DEFAULT_FPS,
    ) -> Classification | list[Answer] | Iterator[Answer]:
        """Classify recordings: which label fits?

        Clips of several recordings are encoded together; an answer is the same alone and in
        company. The labels are checked before any recording is opened.

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
            fps: Frames a second of an array; default 25.

        Returns:
            One recording without ``every_s``: its answer. A list, or ``every_s``: a list with a
            ``Failure`` in the place of each recording or span that cannot be read. An iterator:
            the same, one after the other, as they are needed.

        Raises:
            DecodeError: a single recording cannot be read.
            LabelError: the label list cannot be used.
            UsageError: an input that is not a recording.
        """
        classifier = self.classifier(labels, mode=mode, descriptions=descriptions)
        if is_one(recordings) and every_s is None:
            span = encode_one(self, recordings, fps)
            return classifier.answer(span, top=top, model=self.name)
        listed: Iterable[Recording] = [recordings] if is_one(recordings) else recordings
        answers = self._answers(listed, classifier, top, every_s, fps)
        return answers if isinstance(recordings, Iterator) else list(answers)

    def _answers(
        self,
        recordings: Iterable[Recording],
        classifier: LabelClassifier,
        top: int,
        every_s: float | None,
        fps: float,
    ) -> Iterator[Answer]:
        views = views_of(recordings, self.view_sampler, every_s, fps)
        for span in self.encode_spans(views):
            good = not isinstance(span, Failure)
            yield classifier.answer(span, top=top, model=self.name) if good else span

    # Adaptation

    def adapt(
        self,
        support: str | Path | Support,
        *,
        method: str = "auto",
        shots: int | None = None,
        seed: int = 0,
        unknown: str = FAMILIARITY,
        progress: ProgressCallback | None = None,
        objectives: Objectives = (),
        unlabelled: str | Path | None = None,
    ) -> Model:
        """Learn labels from a few examples each: in closed form (seconds), or by training.

        Args:
            support: A folder with one folder of recordings per label, a CSV
                ``path,label[,start_s,end_s]``, or a ``Support``.
            method: A few-shot method, ``auto`` (closed forms chosen by leave-one-out on the
                support set), or an adapter to train: ``temporal``, ``tc-clip``.
            shots: Use at most this many examples of each label; None for all.
            seed: Seed of the examples that ``shots`` draws, and of all that a training draws.
            unknown: Registered name of the rejector that decides ``unknown``, or ``auto`` for the
                one that suits the support set.
            progress: Called with the total, then with the clips read or trained on since.
            objectives: Names of what is added to a training, or names with their settings.
            unlabelled: A folder of clips without labels, for objectives that use them.

        Returns:
            A model that answers with the support set's labels; this one stays as it is.

        Raises:
            SupportError: the support set cannot be used.
            UnknownNameError: no method or rejector has this name.
        """
        extra = (objectives, unlabelled)
        return Model.of(adapt(self, support, method, shots, seed, unknown, progress, *extra))

    @staticmethod
    def of(adapted: Adapted) -> Model:
        """The model of what adapting gave."""
        return Model(
            adapted.core.encoder,
            adapted=adapted.head,
            templates=adapted.core.template_set,
            report=adapted.report,
        )

    def calibrate(
        self,
        examples: str | Path | Support,
        *,
        unknown_share: float = 0.35,
        progress: ProgressCallback | None = None,
    ) -> Model:
        """Calibrate probabilities on labelled clips (``vlar.model.calibrate``).

        Args:
            examples: As a support set; clips an adapted model did not learn from.
            unknown_share: Share of clips, 0..1, that show none of the labels in use.
            progress: Called as examples are read.
        """
        fitted, _ = calibrate(self, self.adapted, examples, unknown_share, progress)
        return self.with_calibration(fitted)

    def with_calibration(self, calibration: Calibration | None) -> Model:
        """The same model with other curves over its probabilities."""
        return Model(
            self.encoder,
            adapted=self.adapted,
            templates=self.template_set,
            calibration=calibration,
            name=self.name,
            report=self._report,
        )

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Save as a folder: a manifest and the adapted arrays; the encoder itself is not copied.

        Raises:
            ModelError: the folder exists and ``replace`` is False, or cannot be written.
        """
        saved = SavedModel(
            self.encoder, self.adapted, self.template_set, self.calibration, self._report
        )
        return write_model(saved, Path(path), replace=replace)
