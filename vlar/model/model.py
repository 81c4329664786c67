"""The face of a model: an encoder, words, and the head it was adapted to."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from vlar import notebook, registry
from vlar.encoders import trusted_paths
from vlar.encoders.base import Encoder
from vlar.encoders.model_spec import ModelSpec
from vlar.encoders.spec import AUTO, PRECISION, STATED, plain_precision
from vlar.errors import UsageError
from vlar.heads.calibration import Calibration
from vlar.language.labels import Descriptions, Labels, LabelSet
from vlar.language.tree import TreeSource
from vlar.media.views import ViewSampler
from vlar.model import hub
from vlar.model.core import ModelCore
from vlar.model.inputs import Answer, Recording, is_one, vectors_of
from vlar.model.label_heads import LabelClassifier
from vlar.model.pair_labels import Composition
from vlar.model.recogniser import Recogniser
from vlar.model.requests import AdaptRequest, ClassifyRequest, EvaluateRequest
from vlar.options import takes
from vlar.results import Results
from vlar.types import (
    Classification,
    Float32,
    Mode,
    ProgressCallback,
    Role,
)

if TYPE_CHECKING:  # what learns, scores and saves is imported by those who do so
    from vlar.heads.adapted_head import AdaptedHead
    from vlar.heads.base import ModelHead
    from vlar.metrics.result import Evaluation
    from vlar.model.adapt import Adapted
    from vlar.model.adapt_report import AdaptReport
    from vlar.model.calibrate import Calibrated
    from vlar.model.given_examples import Examples

_log = logging.getLogger("vlar")


def load(
    spec: str | Path | ModelSpec = "lite", *, device: str | None = None, dtype: str | None = None
) -> Model:
    """Load the model that a name stands for; see ``vlar.encoders.trusted_paths`` on paths.

    Args:
        spec: An encoder (``lite``, ``openclip:ARCH/TAG``, ``hf:ORG/NAME``), an adapter with its
            checkpoint (``tc-clip:FILE.pth``), a model folder, or ``hf-hub:ORG/NAME@REVISION``.
        device: ``cpu``, ``cuda``, ``cuda:1``; None for the encoder's default.
        dtype: ``float32``, ``bf16``, ``float16`` or ``int8``. None and ``auto`` are that of the
            name or folder, else ``bf16`` on CUDA where the card computes in it, else ``float32``.
            ``stated`` never picks by the device: for names that a library or a manifest holds.

    Raises:
        UnknownNameError: neither a folder nor a known encoder or adapter.
        ModelError: the folder or the encoder's weights are missing, changed or malformed.
        UsageError: the encoder cannot run on the device or with the number type.
    """
    begin_s = time.monotonic()
    dtype = dtype or AUTO
    if not isinstance(spec, ModelSpec):
        hub.fetch_missing(spec)
        spec = ModelSpec.parse(spec)
    name = spec.text
    if spec.folder is None:
        model = Model(registry.load("encoder", spec, device=device, dtype=dtype))
        if PRECISION in model.encoder.name:  # the number type joined it
            name = model.encoder.name
            if dtype == AUTO and PRECISION not in spec.text:
                vars(model.encoder)["in_float32"] = partial(load, spec, device=device, dtype=STATED)
    else:
        from vlar.model.folder import read_model

        saved = read_model(spec.folder, device=device, dtype=plain_precision(dtype))
        model = Model(
            saved.encoder,
            adapted=saved.adapted,
            templates=saved.templates,
            calibration=saved.calibration,
            name=spec.text,
            report=saved.report,
            heads=saved.heads,
        )
    trusted_paths.remember(name, model.fingerprint)
    _log.debug("loaded %s in %.1f s", spec, time.monotonic() - begin_s)
    return model


class Model:
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
        heads: Further heads, by their registered names.

    Attributes:
        encoder: Frozen towers, or an adapter around them.
        words: The encoder with the words that everything is compared with; a library takes it.
        head: The head that ``adapt`` made; None for a zero-shot model.
        heads: Further heads, by their registered names.
        recogniser: Words, head and calibration, which answer about labels.
        name: What answers call this model.
        modality: Name of the sensor whose clips it takes.
        calibration: The curves that ``calibrate`` fitted; None for probabilities by the rule.
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
        heads: Mapping[str, ModelHead] | None = None,
    ) -> None:
        self.encoder, self.head, self.calibration = encoder, adapted, calibration
        self.words = words = ModelCore(encoder, templates=templates, name=name)
        self.recogniser = Recogniser(words, adapted, calibration)
        self.name, self.modality = words.name, words.modality
        if (pairs := Composition.of(words, adapted)) is not None:
            words.pair_scores = pairs.pair_scores
        self._report, self.heads = report, dict(heads or {})

    def __repr__(self) -> str:
        """Name, sensor, width of the vectors, and how many labels it has learned."""
        learned = f", {len(self.labels)} labels" if self.labels else ""
        return f"<vlar.Model {self.name!r}: {self.modality}, {self.encoder.dim} numbers{learned}>"

    @property
    def fingerprint(self) -> str:
        """Hash of what makes a vector; two models with the same one share libraries."""
        return self.words.fingerprint

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels it was adapted to; None for a zero-shot model."""
        return self.head.labels if self.head else None

    @property
    def default_labels(self) -> tuple[str, ...]:
        """The labels that are answered where none are given; empty where some must be."""
        return self.labels or self.encoder.trained_labels

    @property
    def report(self) -> AdaptReport:
        """The report of the adaptation that made this model.

        Raises:
            UsageError: it was not, or its folder has no report that can be read.
        """
        if self._report is None:
            raise UsageError(f"model {self.name!r} has no report of an adaptation")
        return self._report

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by; an adapted model learned from one each."""
        return self.recogniser.view_sampler

    def encode_text(self, texts: str | Sequence[str], *, role: Role = "label") -> Float32:
        """Vectors (N, D) of N texts, float32 of unit length; (D,) of a single text.

        Args:
            texts: Labels or phrases.
            role: ``query`` for phrases of a search, which some models encode in another way.
        """
        encode = self.words.encode_queries if role == "query" else self.words.encode_labels
        return encode([texts])[0] if isinstance(texts, str) else encode(list(texts))

    def encode_video(self, recordings: Recording | Iterable[Recording]) -> Float32:
        """Vectors (N, D) of N recordings, float32 of unit length; (D,) of a single one.

        Args:
            recordings: As ``classify``.

        Raises:
            DecodeError: a recording cannot be read.
        """
        return vectors_of(self.words, self.view_sampler, recordings)

    def similarity(
        self, recordings: Recording | Iterable[Recording], texts: str | Sequence[str] | Float32
    ) -> Float32:
        """Cosines (N, C) of N recordings and C texts; either may be given as vectors."""
        words = texts if isinstance(texts, np.ndarray) else self.encode_text(texts)
        return np.atleast_2d(self.encode_video(recordings)) @ np.atleast_2d(words).T

    # Answers

    def classifier(
        self,
        labels: Labels | None = None,
        *,
        mode: Mode = "one",
        descriptions: Descriptions = "auto",
        tree: TreeSource | None = None,
    ) -> LabelClassifier:
        """The labels bound to the head that scores clips; ``classify`` describes the arguments."""
        return self.recogniser.classifier(LabelSet.read(labels, mode, descriptions, tree))

    @overload
    def classify(
        self,
        recordings: Recording,
        labels: Labels | None = None,
        *,
        every_s: None = None,
        **options: Any,
    ) -> Classification: ...

    @overload
    def classify(
        self,
        recordings: Recording,
        labels: Labels | None = None,
        *,
        every_s: float,
        **options: Any,
    ) -> Results[Answer]: ...

    @overload
    def classify(
        self,
        recordings: list[Any] | tuple[Any, ...],
        labels: Labels | None = None,
        *,
        every_s: float | None = None,
        **options: Any,
    ) -> Results[Answer]: ...

    @overload
    def classify(
        self,
        recordings: Iterator[Recording],
        labels: Labels | None = None,
        *,
        every_s: float | None = None,
        **options: Any,
    ) -> Iterator[Answer]: ...

    @takes(ClassifyRequest)
    def classify(
        self,
        recordings: Recording | Iterable[Recording],
        labels: Labels | None = None,
        **options: Any,
    ) -> Classification | Results[Answer] | Iterator[Answer]:
        """Classify recordings: which label fits?

        An answer is the same alone and in company; labels are checked before a recording is opened.

        Args:
            recordings: A path (a recording, or a folder of frames), an array of frames
                (T, H, W, 3) or a picture (H, W, 3) in RGB, uint8 or floats in 0..1, a tensor
                (T, 3, H, W), a PIL image, a list of PIL images (the frames of one clip), or a
                ``Clip``; or a list of these; or an iterator of these.
            labels: A list of labels, a comma separated string, a file, or ``bank:NAME``. An
                adapted model has its own. A single label is a yes/no question.
            top: How many labels to return.
            every_s: Seconds; gives one answer for each such span. None answers for the whole.
            mode: ``one``: the labels exclude each other; ``multi``: each has its own probability.
            descriptions: ``auto``, ``none`` or kinds, see ``vlar.model.label_heads``.
            tree: A label tree, its JSON file, ``bank:NAME`` or ``text``; adds ``coarse`` labels.
            fps: Frames a second of an array; default 25.
            shots: Judge a video by its shots where it has cuts (``vlar models get shots``).
            who: One person to judge: ``the person on the left``, ``person 2``.
            zoom: ``person``: judge a cut around who moves too; ``auto``: only where small.
            detector: Spec of what finds people (``vlar.parts("detector")``); docs/who.md.
            at: Start and end in seconds of the interval to judge; None judges all of it.
            concepts: ``Library.concepts``: labels of these names are what judgements taught.
            options: The fields of ``vlar.model.requests.ClassifyRequest`` by name, as above.

        Returns:
            One recording without ``every_s``: its answer. A list, or ``every_s``: a list and table
            (``vlar.Results``) with a ``Failure`` for each recording or span that cannot be read.
            An iterator: the same, one after the other, as they are needed.

        Raises:
            DecodeError: a single recording cannot be read.
            PersonError: ``who`` counts beyond the people of the recording.
            LabelError, UsageError: the label list, an input or ``who`` cannot be used.
        """
        request = ClassifyRequest(labels, **options)
        every_s = request.every_s
        if is_one(recordings) and every_s is None:
            return self.recogniser.classify_one(recordings, request)
        listed: Iterable[Recording] = [recordings] if is_one(recordings) else recordings
        answers = self.recogniser.classify_each(listed, request)
        if isinstance(recordings, Iterator):
            return answers
        if isinstance(listed, list | tuple) and (bar := notebook.bar("classifying")):
            bar(total=None if every_s else len(listed))
            answers = (bar(1) or answer for answer in answers)
        return Results(answers)

    @takes(AdaptRequest, leave_out=("source", "free", "learned", "before"))
    def adapt(
        self,
        support: Examples | None,
        *,
        unlabelled: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> Model:
        """Learn labels from a few examples each: in closed form (seconds), or by training.

        Args:
            support: A folder with one folder of recordings per label, a CSV
                ``path,label[,start_s,end_s]``, ``{label: [recordings]}``, pairs (recording, label)
                or a ``Support``. None: no clip has a label, and an objective that needs none
                (``maxi``) learns from ``unlabelled``.
            method: A few-shot method, ``auto`` (closed forms chosen by leave-one-out on the
                support set; with objectives ``temporal``), or an adapter to train.
            shots: Use at most this many examples of each label; None for all.
            seed: Seed of the examples that ``shots`` draws, and of all that a training draws.
            unknown: Registered name of the rejector; ``auto`` for what suits the support set.
            balance: ``adjust`` where labels have very different numbers of examples: answers then
                do not prefer the frequent ones (logit adjustment). ``none`` leaves them.
            tree: A label tree, its JSON file, ``bank:NAME``, or ``text`` (made from the labels):
                answers then have ``coarse`` labels, which a training learns (objective ``tree``).
            progress: Called with the total, then with the clips read or trained on since. One with
                a method ``stage`` is also called with the name of each stage.
            objectives: Names of what is added to a training, or names with their settings.
            unlabelled: A folder of clips without labels, or a CSV ``path[,domain]``.
            settings: Settings of the adapter, hyperparameters that replace the recipe's, settings
                of the learner. A closed form has none.
            learner: Registered name of what finds the parameters; None means the adapter's own.
            options: The fields of ``vlar.model.requests.AdaptRequest`` by name, as above.

        Returns:
            A model that answers with the support set's labels, or about any where there is none;
            this one stays as it is.

        Raises:
            SupportError: the support set cannot be used.
            UnknownNameError: no method or rejector has this name.
        """
        request = AdaptRequest(
            progress=progress or notebook.bar("adapting"),
            free=unlabelled,
            settings=dict(settings or {}),
            **options,
        )
        if support is None:
            return self.learn(request)
        from vlar.model.given_examples import readable

        with readable(support, self.modality) as source:
            return self.learn(replace(request, source=source))

    def learn(self, request: AdaptRequest) -> Model:
        """Carry out a request; ``adapt`` with all that it takes in one object."""
        from vlar.model.adapt import adapt

        request = replace(request, learned=self.learned, before=self.head)
        return Model.of(adapt(self.words, request))

    @property
    def learned(self) -> tuple[str, ...]:
        """Content hashes of the recordings that the adapters around the encoder learned from."""
        return self._report.learned if self._report else ()

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
        examples: Examples,
        *,
        unknown_share: float = 0.35,
        progress: ProgressCallback | None = None,
    ) -> Model:
        """Calibrate probabilities on labelled clips (``vlar.model.calibrate``).

        Of joined encoders (``A+B``) it first fits how much each part counts.

        Args:
            examples: As a support set; clips an adapted model did not learn from.
            unknown_share: Share of clips, 0..1, that show none of the labels in use.
            progress: Called as examples are read.
        """
        from vlar.model.calibrate import calibrate
        from vlar.model.given_examples import readable

        with readable(examples, self.modality) as source:
            calibrated = calibrate(self.words, self.head, source, unknown_share, progress)
        return self.calibrated(calibrated)

    def calibrated(self, found: Calibrated) -> Model:
        """The model of what calibrating gave."""
        if found.encoder is self.encoder:
            return self.with_calibration(found.calibration)
        return Model(
            found.encoder, templates=self.words.template_set, calibration=found.calibration
        )

    def evaluate(
        self,
        labelled: Examples,
        labels: Labels | None = None,
        *,
        mode: Mode = "one",
        descriptions: Descriptions = "auto",
        by: Sequence[str] = (),
        progress: ProgressCallback | None = None,
    ) -> Evaluation:
        """Score this model on labelled recordings; each is answered as ``classify`` does.

        Args:
            labelled: As a support set; one label is enough where ``labels`` are given.
            labels: As ``classify``. None: an adapted model's own, else those of ``labelled``.
            mode: ``one``, or ``multi`` for recordings that show several labels.
            descriptions: As ``classify``.
            by: Columns of the CSV file; the accuracy of each of their values is given too.
            progress: Called with the total, then with the recordings read since.

        Raises:
            SupportError: ``labelled`` cannot be used, or none of its recordings can be read, or a
                column of ``by`` is missing.
            LabelError: a label of ``labelled`` is not in the list, or two read the same.
        """
        from vlar.model.evaluate import evaluate
        from vlar.model.given_examples import readable

        label_set = LabelSet.read(labels, mode, descriptions)
        with readable(labelled, self.modality, least_labels=1) as source:
            return evaluate(self.recogniser, EvaluateRequest(source, label_set, progress, by))

    def with_calibration(self, calibration: Calibration | None) -> Model:
        """The same model with other curves over its probabilities."""
        return Model(
            self.encoder,
            adapted=self.head,
            templates=self.words.template_set,
            calibration=calibration,
            name=self.name,
            report=self._report,
            heads=self.heads,
        )

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Save as a folder: a manifest and the adapted arrays; the encoder itself is not copied.

        Raises:
            ModelError: the folder exists and ``replace`` is False, or cannot be written.
        """
        from vlar.model.folder import SavedModel, write_model

        saved = SavedModel(
            self.encoder,
            self.head,
            self.words.template_set,
            self.calibration,
            self._report,
            self.heads,
        )
        return write_model(saved, Path(path), replace=replace)

    save_pretrained, push_to_hub = hub.save_pretrained, hub.push_to_hub

    @staticmethod
    def from_pretrained(name: str, *, revision: str | None = None, **options: Any) -> Model:
        """The model of a folder or of a repository of the hub.

        Args:
            name: A folder, ``ORG/NAME``, or any name that ``load`` takes.
            revision: Branch, tag or commit of a repository; None for the newest.
            options: ``device`` and ``dtype``, as ``load`` takes them.
        """
        return load(hub.hub_name(name, revision), **options)
