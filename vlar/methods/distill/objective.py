"""``distill``: a student learns what teachers with other sensors answer, clip by clip.

Letters: N clips, n clips with labels, C labels, M teachers.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar.adapters.settings import setting
from vlar.errors import LabelError, UsageError
from vlar.files.reading import MB, read_file
from vlar.heads.logistic import fit_temperature
from vlar.language.clean import clean_label
from vlar.numeric import log_softmax
from vlar.registry import register
from vlar.training.data import ClipView, Random
from vlar.training.objectives import Objective, Step, TrainingContext
from vlar.training.trainable import TrainingBatch
from vlar.types import Float32, Float64, JsonDict

_MOST_BYTES = 256 * MB
_log = logging.getLogger("vlar")


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² KL(softmax(teacher / T) || softmax(student / T))``, the mean over clips (Hinton 2015).

    Args:
        student: (N, C) logits.
        teacher: (N, C) logits; no gradient reaches them.
        temperature: T, above 0.

    Raises:
        UsageError: the shapes differ, or the temperature is not above 0.
    """
    if student.shape != teacher.shape or not temperature > 0:
        raise UsageError(
            f"logits {tuple(student.shape)} and {tuple(teacher.shape)} at temperature "
            f"{temperature}; give one row a clip of each, and a temperature above 0"
        )
    target_logs = (teacher.detach() / temperature).log_softmax(dim=-1)
    student_logs = (student / temperature).log_softmax(dim=-1)
    return temperature**2 * F.kl_div(
        student_logs, target_logs, reduction="batchmean", log_target=True
    )


def teacher_weights(losses: Sequence[float], g: float) -> Float64:
    """Weights (M,) of teachers, ``softmin(loss / g)``; they sum to 1.

    Args:
        losses: M mean losses on clips that the teachers did not learn from.
        g: Above 0; the smaller, the more the best teacher counts.

    Raises:
        UsageError: g is not above 0, or a loss is not finite.
    """
    rows = np.asarray(losses, np.float64)
    if not g > 0 or not rows.size or not np.isfinite(rows).all():
        raise UsageError(f"losses {rows.tolist()} with g {g}; give finite losses, and g above 0")
    return np.exp(log_softmax(-rows / g))


def write_teacher(
    file: str | Path, paths: Sequence[Path], labels: Sequence[str], logits: Float64
) -> None:
    """Write the answers of a teacher for ``read_teacher``.

    Args:
        file: CSV ``path,LABEL,...``.
        paths: N recordings as the student has them.
        labels: C labels.
        logits: (N, C), or logarithms of probabilities.
    """
    with Path(file).open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["path", *labels])
        for path, row in zip(paths, logits, strict=True):
            rows.writerow([Path(path).absolute(), *(f"{value:.6g}" for value in row)])


def read_teacher(file: str | Path, labels: Sequence[str]) -> dict[Path, Float32]:
    """Logits (C,) of a teacher by recording; relative paths start at the file.

    Args:
        file: CSV with the column ``path`` and one for each label, others are left out.
        labels: C labels.

    Raises:
        LabelError: it cannot be read, lacks a label, or a number is not finite.
    """
    features_path = Path(file).expanduser()
    try:
        text = read_file(features_path, _MOST_BYTES).decode("utf-8-sig")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise LabelError(f"{features_path}: answers cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise LabelError(f"{features_path}: not a CSV file of answers ({error})") from error
    columns = {clean_label(name): number for number, name in enumerate(header)}
    missing = [label for label in labels if clean_label(label) not in columns]
    if header[:1] != ["path"] or missing:
        what = f"the label {missing[0]!r}" if missing else "the column 'path'"
        raise LabelError(f"{features_path}: lacks {what}; write path and one column a label")
    chosen = [columns[clean_label(label)] for label in labels]
    features: dict[Path, Float32] = {}
    for number, line in enumerate(lines, 2):
        try:
            row = np.array([line[column] for column in chosen], np.float32)
            path = (features_path.absolute().parent / line[0]).resolve()
        except (ValueError, IndexError, OSError, RuntimeError) as error:
            raise LabelError(f"{features_path}: line {number} has no numbers ({error})") from error
        if not np.isfinite(row).all():
            raise LabelError(
                f"{features_path}: line {number} has a number that is not finite; correct it"
            )
        features[path] = row
    return features


@register("objective", "distill", status="null here")
@dataclass
class Distill(Objective):
    """Multimodal distillation (Radevski et al., ICCV 2023): teachers' answers are the target.

    ``weight T² KL(softmax(t / T) || softmax(s / T)) + supervised CE``, where ``t = sum_m w_m o_m /
    T_m``. The temperature ``T_m`` of each teacher is fitted on the labelled clips, and ``w`` is
    ``teacher_weights`` of its mean loss there. So a file holds answers of teachers that did not
    learn from the clip. Clips without labels count alike. Clips are not mixed: a mixed clip has no
    answer of a teacher.

    Reference: Radevski et al., "Multimodal distillation for egocentric action recognition", ICCV
    2023.
    Example: ``vlar adapt support/ --out mine --method temporal --objective distill``.

    Attributes:
        teachers: CSV files ``path,LABEL,...`` of logits (``write_teacher``).
        temperature: T.
        weight: Factor on the answers of teachers.
        supervised: Factor on the method's own loss; 0 as in the paper.
        g: Sharpness of ``teacher_weights``.
        ratio: Clips without labels in a batch for each labelled one, where there are any.
    """

    teachers: tuple[str, ...] = ()
    temperature: float = setting(1.0, above=0)
    weight: float = setting(1.0, at_least=0)
    supervised: float = setting(0.0, at_least=0)
    g: float = setting(1.0, above=0)
    ratio: float = setting(1.0, at_least=0)
    name: ClassVar[str] = "distill"
    weights: list[float] = field(default_factory=list[float], init=False, repr=False)
    _shown: Tensor | None = field(default=None, init=False, repr=False)
    _known: Tensor | None = field(default=None, init=False, repr=False)
    _free: Tensor | None = field(default=None, init=False, repr=False)

    @classmethod
    def example(cls, folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> JsonDict:
        """One teacher with random answers."""
        file = folder / "teacher.csv"
        logits = np.random.default_rng(0).normal(size=(len(paths), len(labels)))
        write_teacher(file, paths, labels, logits)
        return {"teachers": [str(file)]}

    def views(self) -> Mapping[str, ClipView]:
        """The clip as it is before it is mixed."""
        return {"unmixed": ClipView()}

    def begin(self, context: TrainingContext) -> None:
        """Read the answers, fit each teacher's temperature, and weigh the teachers.

        Raises:
            UsageError: a teacher is missing, or has no answers about the labelled clips.
            LabelError: a file cannot be read.
        """
        if not self.teachers:
            raise UsageError(
                "objective 'distill' needs answers of a teacher; set teachers = ['FILE.csv']"
            )
        context.clips_per_label(self.name)
        y = context.shown.argmax(axis=1)
        if context.numbers.mixup or context.numbers.cutmix:
            self._shown = torch.from_numpy(context.shown).to(context.device)
        read = [read_teacher(file, context.texts) for file in self.teachers]
        labelled = [_rows(one, context.paths, len(context.texts)) for one in read]
        labelled_masks = [~np.isnan(rows[:, 0]) for rows in labelled]
        for file, mask in zip(self.teachers, labelled_masks, strict=True):
            if not mask.any():
                raise UsageError(
                    f"{file}: no path in it is a labelled clip, so its temperature cannot be "
                    "fitted; write the paths of the student's recordings"
                )
        pairs = zip(labelled, labelled_masks, strict=True)
        scales = [fit_temperature(r[mask], y[mask], lowest=0.01, highest=10.0) for r, mask in pairs]
        losses = [
            -float(log_softmax(scale * rows[mask])[np.arange(mask.sum()), y[mask]].mean())
            for scale, rows, mask in zip(scales, labelled, labelled_masks, strict=True)
        ]
        self.weights = teacher_weights(losses, self.g).tolist()
        _log.info(
            "distill: teachers at temperatures %s with weights %s",
            [round(1 / scale, 2) for scale in scales],
            [round(weight, 3) for weight in self.weights],
        )
        free = context.unlabelled.paths if context.unlabelled is not None else ()
        unlabelled = [_rows(one, free, len(context.texts)) for one in read]
        factors = np.multiply(self.weights, scales)
        self._known, self._free = (
            torch.from_numpy(np.tensordot(factors, rows, axes=1).astype(np.float32)).to(
                context.device
            )
            for rows in (labelled, unlabelled)
        )

    def change_batch(self, batch: TrainingBatch, random: Random) -> TrainingBatch:
        """The batch with clips and targets as they were before they were mixed."""
        if self._shown is None:
            return batch
        targets = batch.targets.clone()
        targets[: len(batch.rows)] = self._shown[list(batch.rows)]
        return replace(batch, inputs=batch.views["unmixed"], targets=targets, shown=None)

    def base_weight(self, progress: float) -> float:
        """Factor on the method's own loss."""
        return self.supervised

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The distance to the teachers, over clips that all of them answer."""
        batch, logits = step.batch, step.output.logits
        assert self._known is not None
        assert self._free is not None
        teacher = torch.cat([self._known[list(batch.rows)], self._free[list(batch.free_rows)]])
        is_finite = torch.isfinite(teacher).all(dim=1)
        if not bool(is_finite.any()):
            return {"answers": logits.sum() * 0.0}
        return {
            "answers": self.weight * kd(logits[is_finite], teacher[is_finite], self.temperature)
        }


def _rows(answers: Mapping[Path, Float32], paths: Sequence[Any], width: int) -> Float64:
    """(n, C) answers about recordings; NaN where there is none."""
    none = np.full(width, np.nan)
    return np.array(
        [answers.get(Path(path).resolve(), none) for path in paths], np.float64
    ).reshape(-1, width)
