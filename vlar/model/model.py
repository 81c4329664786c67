"""The model: an encoder, the labels it knows, and how similarity becomes an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vlar.encoders.base import Encoder
from vlar.encoders.conditioned import ConditionedText
from vlar.encoders.vector_cache import content_free_vectors
from vlar.errors import UsageError
from vlar.model.classifier import BACKGROUND_BANK, Descriptions, Labels, Question, make_question
from vlar.model.concepts import concept_vectors
from vlar.numeric import unit
from vlar.scoring import UNKNOWN_THRESHOLD, Calibration, match_probability
from vlar.sensors import Views, ViewSampler, reader
from vlar.text.bank import load_bank
from vlar.text.prompts import fill, load_templates
from vlar.types import (
    Classification,
    Clip,
    Encoded,
    Failure,
    Float32,
    Float64,
    Prediction,
    ProgressCallback,
)

if TYPE_CHECKING:
    from vlar.fewshot.support import Support
    from vlar.model.adapt import Adaptation, AdaptReport


def load(spec: str | Path = "lite") -> Model:
    """The model a name stands for.

    Args:
        spec: An encoder (``lite``, ``openclip:ARCH/TAG``, ``hf:ORG/NAME``), an adapter with its
            checkpoint (``tc-clip:FILE.pth``), or a model folder.

    Raises:
        UnknownNameError: neither a folder nor a known encoder or adapter.
        ModelError: the folder or the encoder's weights are missing, changed or malformed.
    """
    from vlar.adapters.base import load_any
    from vlar.model.folder import is_model_folder, read_model

    if is_model_folder(spec):
        return read_model(spec)
    return Model(load_any(str(spec)))


class Model:
    """Maps windows and words into one space and answers which label fits.

    Example::

        model = vlar.load()
        answer = model.classify("clip.mp4", ["riding a bike", "cooking"])
        answer.label, answer.predictions[0].probability

    Args:
        encoder: Frozen towers.
        adaptation: What ``adapt`` learned from a support set; None for a zero-shot model.
        templates: Name of a prompt set; None for the one that suits the encoder.
        calibration: What ``calibrate`` learned; None for probabilities by the scoring rule.
        name: What answers call this model; None for the encoder's name.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        adaptation: Adaptation | None = None,
        templates: str | None = None,
        calibration: Calibration | None = None,
        name: str | None = None,
    ) -> None:
        self.encoder = encoder
        self.adaptation = adaptation
        self.calibration = calibration
        self.template_set = templates or encoder.templates
        self.name = name or encoder.name
        self.modality = encoder.modality  #: Name of the sensor whose clips it takes.
        #: P templates that a label or phrase is put into.
        self.prompts = load_templates(self.template_set)

    @property
    def dim(self) -> int:
        """D, width of the shared space."""
        return self.encoder.dim

    @property
    def n_frames(self) -> int:
        """T, frames sampled from a window."""
        return self.encoder.n_frames

    @property
    def fingerprint(self) -> str:
        """Hash of what makes a vector; two models with the same one share libraries."""
        return self.encoder.fingerprint

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels this model was adapted to; None for a zero-shot model."""
        return self.adaptation.labels if self.adaptation else None

    @property
    def report(self) -> AdaptReport:
        """How this model was adapted.

        Raises:
            UsageError: it was not, or it was loaded from a folder (its ``vlar.json`` has it).
        """
        if self.adaptation is None or self.adaptation.report is None:
            raise UsageError(f"model {self.name!r} has no report of an adaptation")
        return self.adaptation.report

    @property
    def shorter_side(self) -> int:
        """Pixels; larger pictures are shrunk to it while decoding. 0 without pictures."""
        return self.encoder.sampling.shorter_side or 0

    # Vectors

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """N clips as the encoder sees them; a clip gives the same alone and in company."""
        return self.encoder.encode(clips)

    @property
    def view_sampler(self) -> ViewSampler:
        """Reads the views that a span is judged by; an adapted model learned from one each."""
        sampler = ViewSampler(reader(self.encoder.modality), self.encoder.sampling)
        return sampler if self.adaptation is None else sampler.one_view

    def encode_views(self, views: Views) -> Encoded:
        """The clips of one span as one: the mean of their vectors, the features of the first."""
        encoded = self.encode(views)
        if len(encoded) == 1:
            return encoded[0]
        mean = np.mean([each.vector for each in encoded], axis=0)
        return replace(encoded[0], vector=unit(mean))

    @property
    def conditions_text(self) -> bool:
        """Whether a text has another vector for each video (``conditioned_queries``)."""
        return isinstance(self.encoder, ConditionedText)

    def conditioned_queries(self, texts: Sequence[str], context: npt.NDArray[Any]) -> Float32:
        """Labels or phrases as each of N windows sees them.

        Args:
            texts: Q labels or phrases.
            context: (N, k, E) float16 or float32, from ``see``.

        Returns:
            (N, Q, D) float32 of unit length.

        Raises:
            UsageError: text does not depend on the video in this model.
        """
        if not isinstance(self.encoder, ConditionedText):
            raise UsageError(f"text does not depend on the video in model {self.name!r}")
        filled = [prompt for prompts in fill(self.prompts, texts) for prompt in prompts]
        words = self.encoder.conditioned_text(filled, context)
        return unit(words.reshape(len(context), len(texts), len(self.prompts), -1).mean(axis=2))

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """Q labels or phrases to concept vectors (Q, D) float32 of unit length."""
        return concept_vectors(self.encoder, texts, self.prompts)

    def match_probability(self, vectors: Float32, query: Float32) -> Float64:
        """Probability (N,) that windows (N, D) answer a query (D,), against everyday actions."""
        return match_probability(
            vectors,
            query,
            self.background,
            logit_scale=self.encoder.logit_scale,
            content_free=self.content_free,
        )

    @cached_property
    def background(self) -> Float32:
        """(B, D) concepts of everyday actions: what else might be going on."""
        return concept_vectors(
            self.encoder.reference, load_bank(BACKGROUND_BANK).texts, self.prompts
        )

    @cached_property
    def content_free(self) -> Float32:
        """(M, D) what the encoder answers to clips that show nothing."""
        return content_free_vectors(self.encoder)

    # Answers

    def classify(
        self,
        video: str | Path,
        labels: Labels | None = None,
        *,
        top: int = 5,
        mode: str = "one",
        descriptions: Descriptions = "auto",
    ) -> Classification:
        """Which label fits a video?

        Args:
            video: A video file or a folder of frames.
            labels: A list of labels, a comma separated string, a file, or ``bank:NAME``; may be
                left out where the model was adapted.
            top: How many labels to return.
            mode: ``one``: the labels exclude each other; ``multi``: each has its own probability.
            descriptions: ``auto``, ``none`` or kinds, see ``vlar.model.classifier.label_concepts``.

        Returns:
            The best labels with calibrated probabilities, and whether none of them fits.

        Raises:
            DecodeError: the video cannot be read.
            LabelError: the label list cannot be used.
        """
        question = make_question(self, labels, mode=mode, descriptions=descriptions)
        return self._answer(self.view_sampler.sample(video), question, top)

    def classify_each(
        self,
        videos: Iterable[str | Path],
        labels: Labels | None = None,
        *,
        top: int = 5,
        every_s: float | None = None,
        mode: str = "one",
        descriptions: Descriptions = "auto",
    ) -> Iterator[Classification | Failure]:
        """Classify many videos, or one answer for each ``every_s`` seconds of them.

        A video that cannot be read is a ``Failure`` in its place; it does not stop the others.
        Decoding runs ahead in threads. The labels are checked before the first answer is asked for.
        """
        question = make_question(self, labels, mode=mode, descriptions=descriptions)
        return self._answers([Path(video) for video in videos], question, top, every_s)

    def _answers(
        self, videos: list[Path], question: Question, top: int, every_s: float | None
    ) -> Iterator[Classification | Failure]:
        views = self.view_sampler
        whole = ((video, None) for video in videos)
        found = views.sample_each(whole) if every_s is None else views.sample_every(videos, every_s)
        for looks in found:
            yield looks if isinstance(looks, Failure) else self._answer(looks, question, top)

    def _answer(self, looks: Views, question: Question, top: int) -> Classification:
        similarity, probability, unknown = question.score(self.encode_views(looks))
        order = np.argsort(-probability, kind="stable")[:top]
        best = tuple(
            Prediction(
                label, float(probability[i]), float(similarity[i]), key if key != label else None
            )
            for i, label, key in ((i, question.labels[i], question.keys[i]) for i in order)
        )
        return Classification(
            path=looks[0].path,
            start_s=looks[0].window.start_s,
            end_s=looks[0].window.end_s,
            model=self.name,
            predictions=best,
            unknown=unknown > UNKNOWN_THRESHOLD,
            unknown_probability=unknown,
        )

    # Adaptation

    def adapt(
        self,
        support: str | Path | Support,
        *,
        method: str = "auto",
        shots: int | None = None,
        seed: int = 0,
        progress: ProgressCallback | None = None,
    ) -> Model:
        """Learn labels from a few examples each: in closed form (seconds), or by training.

        Args:
            support: A folder with one folder of videos per label, a CSV
                ``path,label[,start_s,end_s]``, or a ``Support``.
            method: A few-shot method, ``auto`` (closed forms chosen by leave-one-out on the
                support set), or an adapter to train: ``temporal``, ``tc-clip``.
            shots: Use at most this many examples of each label; None for all.
            seed: Which examples ``shots`` draws, and all that a training draws.
            progress: Called as examples are read.

        Returns:
            A model that answers with the support set's labels; this one stays as it is.

        Raises:
            SupportError: the support set cannot be used.
            UnknownNameError: no method has this name.
        """
        from vlar.model.adapt import adapt

        return adapt(self, support, method, shots, seed, progress)

    def calibrate(self, examples: str | Path | Support, *, unknown_share: float = 0.35) -> Model:
        """Make probabilities honest by clips whose labels are known (``vlar.model.calibrate``).

        Args:
            examples: As a support set; clips an adapted model did not learn from.
            unknown_share: Share of clips that show none of the labels, where it will be used.
        """
        from vlar.model.calibrate import calibrate

        return calibrate(self, examples, unknown_share)[0]

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Save as a folder: a manifest and the adapted arrays; the encoder itself is not copied.

        Raises:
            ModelError: the folder exists and ``replace`` is False, or cannot be written.
        """
        from vlar.model.folder import write_model

        return write_model(self, Path(path), replace=replace)
