"""The face of a model: a core with the head it was adapted to, and a calibration."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlar.adapters.base import load_any
from vlar.encoders import named
from vlar.encoders.base import Encoder
from vlar.errors import UsageError
from vlar.evaluation.result import Evaluation
from vlar.fewshot.adapted import AdaptedHead
from vlar.fewshot.report import AdaptReport
from vlar.fewshot.request import AdaptRequest, Objectives
from vlar.fewshot.support import Support
from vlar.model.adapt import FAMILIARITY, Adapted, adapt
from vlar.model.calibrate import Calibrated, calibrate
from vlar.model.classifier import Labels
from vlar.model.evaluate import evaluate
from vlar.model.folder import (
    SavedModel,
    is_model_folder,
    read_model,
    write_model,
)
from vlar.model.label_concepts import Descriptions
from vlar.model.label_tree import TreeSource
from vlar.model.recogniser import Recogniser
from vlar.scoring.calibration import Calibration
from vlar.types import ProgressCallback

_log = logging.getLogger("vlar")


def load(
    spec: str | Path = "lite", *, device: str | None = None, dtype: str | None = None
) -> Model:
    """Load the model that a name stands for; see ``vlar.encoders.named`` on paths.

    Args:
        spec: An encoder (``lite``, ``openclip:ARCH/TAG``, ``hf:ORG/NAME``), an adapter with its
            checkpoint (``tc-clip:FILE.pth``), or a model folder.
        device: ``cpu``, ``cuda``, ``cuda:1``; None for the encoder's default.
        dtype: ``float32``, ``bf16``, ``float16`` or ``int8``; None or ``auto`` for the encoder's
            default, which is ``float32``.

    Raises:
        UnknownNameError: neither a folder nor a known encoder or adapter.
        ModelError: the folder or the encoder's weights are missing, changed or malformed.
        UsageError: the encoder cannot run on the device or with the number type.
    """
    begin_s = time.monotonic()
    if not is_model_folder(spec):
        model = Model(load_any(str(spec), device, dtype))
        if dtype is not None:  # it joins the name that libraries and saved models state
            named.remember(model.encoder.name, model.fingerprint)
    else:
        saved = read_model(spec, device=device, dtype=dtype)
        model = Model(
            saved.encoder,
            adapted=saved.adapted,
            templates=saved.templates,
            calibration=saved.calibration,
            name=str(spec),
            report=saved.report,
        )
    named.remember(spec, model.fingerprint)
    seconds = time.monotonic() - begin_s
    _log.debug("loaded %s in %.1f s, fingerprint %s", spec, seconds, model.fingerprint[:12])
    return model


class Model(Recogniser):
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
        super().__init__(
            encoder, adapted=adapted, templates=templates, calibration=calibration, name=name
        )
        self._report = report

    @property
    def report(self) -> AdaptReport:
        """How this model was adapted.

        Raises:
            UsageError: it was not, or its folder has no report that can be read.
        """
        if self._report is None:
            raise UsageError(f"model {self.name!r} has no report of an adaptation")
        return self._report

    # Adaptation

    def adapt(
        self,
        support: str | Path | Support | None,
        *,
        method: str = "auto",
        shots: int | None = None,
        seed: int = 0,
        unknown: str = FAMILIARITY,
        balance: str = "none",
        tree: TreeSource | None = None,
        progress: ProgressCallback | None = None,
        objectives: Objectives = (),
        unlabelled: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        learner: str | None = None,
    ) -> Model:
        """Learn labels from a few examples each: in closed form (seconds), or by training.

        Args:
            support: A folder with one folder of recordings per label, a CSV
                ``path,label[,start_s,end_s]``, or a ``Support``. None: no clip has a label, and an
                objective that needs none (``maxi``) learns from ``unlabelled``.
            method: A few-shot method, ``auto`` (closed forms chosen by leave-one-out on the
                support set; with objectives ``temporal``), or an adapter to train.
            shots: Use at most this many examples of each label; None for all.
            seed: Seed of the examples that ``shots`` draws, and of all that a training draws.
            unknown: Registered name of the rejector that decides ``unknown``, or ``auto`` for the
                one that suits the support set.
            balance: ``adjust`` where labels have very different numbers of examples: answers then
                do not prefer the frequent ones (logit adjustment). ``none`` leaves them.
            tree: A label tree, its JSON file of label to parent, ``bank:NAME`` for the domains of a
                bank, or ``text`` to make one from the labels. Answers of the model then have
                ``coarse`` labels, and a training learns those too (objective ``tree``).
            progress: Called with the total, then with the clips read or trained on since. One with
                a method ``stage`` is also called with the name of each stage.
            objectives: Names of what is added to a training, or names with their settings.
            unlabelled: A folder of clips without labels, or a CSV ``path[,domain]``, for what uses
                them.
            settings: Settings of the adapter, hyperparameters that replace the recipe's, settings
                of the learner. A closed form has none.
            learner: Registered name of what finds the parameters; None means the adapter's own.

        Returns:
            A model that answers with the support set's labels, or about any where there is none;
            this one stays as it is.

        Raises:
            SupportError: the support set cannot be used.
            UnknownNameError: no method or rejector has this name.
        """
        return self.learn(
            AdaptRequest(
                source=support,
                method=method,
                shots=shots,
                seed=seed,
                unknown=unknown,
                balance=balance,
                tree=tree,
                progress=progress,
                objectives=objectives,
                free=unlabelled,
                settings=dict(settings or {}),
                learner=learner,
            )
        )

    def learn(self, request: AdaptRequest) -> Model:
        """Carry out a request; ``adapt`` with all that it takes in one object."""
        return Model.of(adapt(self, replace(request, learned=self.learned)))

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
        examples: str | Path | Support,
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
        return self.calibrated(calibrate(self, self.adapted, examples, unknown_share, progress))

    def calibrated(self, found: Calibrated) -> Model:
        """The model of what calibrating gave."""
        if found.encoder is self.encoder:
            return self.with_calibration(found.calibration)
        return Model(found.encoder, templates=self.template_set, calibration=found.calibration)

    def evaluate(
        self,
        labelled: str | Path | Support,
        labels: Labels | None = None,
        *,
        mode: str = "one",
        descriptions: Descriptions = "auto",
        progress: ProgressCallback | None = None,
    ) -> Evaluation:
        """Score this model on labelled recordings; each is answered as ``classify`` does.

        Args:
            labelled: As a support set; one label is enough where ``labels`` are given.
            labels: As ``classify``. None: an adapted model's own, else those of ``labelled``.
            mode: ``one``, or ``multi`` for recordings that show several labels.
            descriptions: As ``classify``.
            progress: Called with the total, then with the recordings read since.

        Raises:
            SupportError: ``labelled`` cannot be used, or none of its recordings can be read.
            LabelError: a label of ``labelled`` is not in the list, or two read the same.
        """
        return evaluate(self, labelled, labels, mode, descriptions, progress)

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
