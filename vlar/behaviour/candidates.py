"""Clips to label as tasks of labelling tools, and their answers back: Label Studio, FiftyOne, CSV.

Label Studio: its JSON of tasks with predictions, and of annotations. FiftyOne: the ``samples.json``
of a data set in its own format. docs/answers.md shows both. Files that come back are other
people's: they are read as strict JSON and checked field by field.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import EncoderMismatchError, SupportError, UsageError, explained
from vlar.files.opening import open_input
from vlar.files.reading import parse_json, read_file
from vlar.files.replacing import replacing
from vlar.formatting import fault
from vlar.heads.support import read_support
from vlar.language.labels import Labels
from vlar.library.library import Library
from vlar.model.core import EncodedSpan
from vlar.model.label_heads import LabelClassifier
from vlar.model.model import Model
from vlar.segments.tables import text_of
from vlar.types import Encoded, Failure, Float32, Float64, JsonDict, Window

_COLUMNS = ("path", "label", "start_s", "end_s")
_LEAST = 1e-6  # of a factor: no clip is ever left out


def uncertainty(probability: Float64) -> Float64:
    """Uncertainty of each answer: 1 minus the difference of the two most probable labels.

    Args:
        probability: (N, C) of C labels, each row summing to at most 1.

    Returns:
        (N,) float64, 0 to 1.
    """
    if probability.shape[1] < 2:
        return 1.0 - np.abs(2.0 * probability[:, 0] - 1.0)
    shares = probability / np.maximum(probability.sum(axis=1, keepdims=True), 1e-12)
    best = -np.partition(-shares, 1, axis=1)[:, :2]
    return 1.0 - (best[:, 0] - best[:, 1])


def review_order(
    unsure: Float64, vectors: Float32, k: int, known: Float32 | None = None
) -> list[int]:
    """The first ``k`` clips to look at.

    Args:
        unsure: (N,) 0 to 1.
        vectors: (N, D) of unit length.
        k: At most N are given.
        known: (M, D) vectors of clips whose labels are known already; None for none.

    Returns:
        Places, the most instructive first.
    """
    weight = np.maximum(unsure.astype(np.float64), _LEAST)
    distance = np.ones(len(vectors))
    if known is not None and len(known):
        distance = 1.0 - (vectors @ known.T).max(axis=1).astype(np.float64)
    waiting = np.ones(len(vectors), np.bool_)
    chosen: list[int] = []
    for _ in range(min(k, len(vectors))):
        value = np.where(waiting, weight * np.maximum(distance, _LEAST), -1.0)
        best = int(value.argmax())
        chosen.append(best)
        waiting[best] = False
        distance = np.minimum(distance, 1.0 - vectors @ vectors[best])
    return chosen


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
class ReviewCandidates:
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
        labelled: Collection[tuple[Path, Window | None]] = (),
    ) -> list[ReviewItem]:
        """The ``k`` clips to look at first (``vlar.behaviour.candidates``).

        Args:
            k: Greatest number of clips.
            labelled: Recordings (absolute paths) and spans whose labels are known already: they are
                left out, and clips like them come later.
        """
        unsure = uncertainty(self.probability)
        labelled_mask = np.array([key in labelled for key in self.places], np.bool_)
        waiting = np.flatnonzero(~labelled_mask)
        order = review_order(unsure[waiting], self.vectors[waiting], k, self.vectors[labelled_mask])
        return [self._item(int(waiting[index]), unsure) for index in order]

    def _item(self, place: int, unsure: Float64) -> ReviewItem:
        row = self.probability[place]
        best = np.argsort(-row, kind="stable")[:_SHOWN]
        guesses = tuple((self.labels[i], float(row[i])) for i in best)
        return ReviewItem(*self.places[place], guesses, float(unsure[place]))


def of_recordings(
    model: Model, paths: Sequence[Path], labels: Labels | None = None
) -> ReviewCandidates:
    """The answers for whole recordings.

    Raises:
        LabelError: the model has no labels of its own, and none are given.
    """
    spans = model.view_sampler.sample_each((path, None) for path in map(Path.absolute, paths))
    return _candidates(model, model.words.encode_spans(spans), labels, whole=True)


def of_library(model: Model, library: Library, labels: Labels | None = None) -> ReviewCandidates:
    """The answers for the windows of a library.

    A zero-shot model reads the stored vectors. An adapted one may need more than these, so its
    windows are decoded.

    Raises:
        LabelError: the model has no labels of its own, and none are given.
        LibraryError: the library is empty or damaged.
        EncoderMismatchError: it was made by another model.
        UsageError: the text of the model depends on the video.
    """
    if model.words.conditions_text:
        raise UsageError(
            f"in model {model.name!r} a text has another vector for each video; give recordings "
            "instead of a library"
        )
    rows = library.all_rows()
    times = zip(rows.table.starts_s.tolist(), rows.table.ends_s.tolist(), strict=True)
    paths = [Path(rows.paths[i]) for i in rows.table.video_ids.tolist()]
    places = list(zip(paths, (Window(*span) for span in times), strict=True))
    if model.head is not None:
        spans = model.words.encode_spans(model.view_sampler.sample_each(places))
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
) -> ReviewCandidates:
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
    return ReviewCandidates(
        classifier.labels,
        places,
        np.stack(vectors) if vectors else np.zeros((0, model.words.dim), np.float32),
        np.stack(probability) if probability else np.zeros((0, width)),
        tuple(failed),
    )


LABEL_STUDIO, FIFTYONE, CSV = "label-studio", "fiftyone", "csv"
FORMATS = (LABEL_STUDIO, FIFTYONE, CSV)
CONFIG = (
    '<View><Video name="video" value="$video"/>'
    '<Choices name="label" toName="video" choice="single">{choices}</Choices></View>'
)
_MOST_BYTES = 256 << 20
_LONGEST_LABEL = 4000


@dataclass(frozen=True)
class GivenLabel:
    """Label that a person gave to a clip."""

    path: Path
    window: Window | None
    label: str


def tasks(items: Sequence[ReviewItem], kind: str, model: str) -> str:
    """The text of a file of tasks, in the order of review."""
    if kind == LABEL_STUDIO:
        return json.dumps([_studio_task(item, model) for item in items], indent=1) + "\n"
    if kind == FIFTYONE:
        return json.dumps({"samples": [_sample(item) for item in items]}, indent=1) + "\n"
    spans = [("", "") if w is None else (w.start_s, w.end_s) for w in (i.window for i in items)]
    rows = [(item.path, "", *span) for item, span in zip(items, spans, strict=True)]
    return text_of([_COLUMNS, *rows], end="\r\n")


def _studio_task(item: ReviewItem, model: str) -> JsonDict:
    label, probability = item.guesses[0]
    choice = {"from_name": "label", "to_name": "video", "type": "choices"}
    return {
        "data": {"video": str(item.path), **_facts(item)},
        "predictions": [
            {
                "model_version": model,
                "score": round(probability, 6),
                "result": [{**choice, "value": {"choices": [label]}}],
            }
        ],
    }


def _sample(item: ReviewItem) -> JsonDict:
    label, probability = item.guesses[0]
    guess = {"_cls": "Classification", "label": label, "confidence": round(probability, 6)}
    facts = _facts(item)
    return {
        "filepath": facts.pop("path"),
        "tags": ["review"],
        "ground_truth": None,
        "prediction": guess,
        **facts,
    }


def _facts(item: ReviewItem) -> JsonDict:
    facts = item.to_dict()
    del facts["guesses"]
    return facts


def read_answers(file: str | Path) -> list[GivenLabel]:
    """The answers of a file that a labelling tool, or a person with an editor, has filled in.

    The kind is found by content. Clips without an answer, and answers that were skipped or
    cancelled, are left out; of several answers to one clip the last one counts.

    Raises:
        UsageError: not one of the formats; the message has the place.
    """
    path = Path(file)
    with explained(UsageError, f"{path}: cannot be read"):
        text = read_file(path, _MOST_BYTES)
    if path.suffix.lower() == ".csv":
        answers = list(_from_csv(path, text))
    else:
        try:
            data = parse_json(text)
        except ValueError as error:
            raise UsageError(f"{path}: not JSON of a labelling tool ({error})") from error
        if isinstance(data, list):
            answers = [a for index, task in enumerate(data) for a in _from_task(path, index, task)]
        elif isinstance(data, dict) and isinstance(data.get("samples"), list):
            answers = [
                a for index, row in enumerate(data["samples"]) for a in _from_row(path, index, row)
            ]
        else:
            raise UsageError(
                f"{path}: neither a list of Label Studio tasks nor FiftyOne's samples.json; export "
                "as JSON"
            )
    return list({(answer.path, answer.window): answer for answer in answers}.values())


def _from_task(file: Path, at: int, task: Any) -> Iterator[GivenLabel]:
    where = f"{file}, task {at + 1}"
    data = _dict(where, task).get("data")
    facts = _dict(f"{where}, data", data)
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list):
        raise UsageError(f"{where}: 'annotations' is not a list; export as JSON, not JSON-MIN")
    for annotation in annotations:
        if _dict(where, annotation).get("was_cancelled"):
            continue
        for result in annotation.get("result") or []:
            value = _dict(where, _dict(where, result).get("value") or {})
            choices = value.get("choices")
            if isinstance(choices, list) and len(choices) == 1:
                named = facts.get("path", facts.get("video"))
                yield _answer(where, named, facts, choices[0])


def _from_row(file: Path, at: int, row: Any) -> Iterator[GivenLabel]:
    where = f"{file}, sample {at + 1}"
    truth = _dict(where, row).get("ground_truth")
    if truth is not None:
        yield _answer(where, row.get("filepath"), row, _dict(where, truth).get("label"))


def _from_csv(file: Path, data: bytes) -> Iterator[GivenLabel]:
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        if not {"path", "label"} <= set(rows.fieldnames or ()):
            raise UsageError(f"{file}, line 1: the columns path and label are needed")
        for row in rows:
            if (row.get("label") or "").strip():
                times = {n: float(row[n]) for n in ("start_s", "end_s") if row.get(n)}
                yield _answer(f"{file}, line {rows.line_num}", row["path"], times, row["label"])
    except (csv.Error, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{file}: not a usable table ({error})") from error


def _answer(where: str, path: Any, facts: JsonDict, label: Any) -> GivenLabel:
    for name, text in (("path", path), ("label", label)):
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_LABEL:
            raise UsageError(f"{where}: its {name} is not a usable text; remove or correct it")
        if wrong := fault(text):
            raise UsageError(f"{where}: its {name} holds {wrong}; remove or correct it")
    times = facts.get("start_s"), facts.get("end_s")
    if times == (None, None):
        return GivenLabel(Path(path), None, label.strip())
    start_s, end_s = (float(t) if isinstance(t, int | float) else -1.0 for t in times)
    if not 0 <= start_s < end_s < float("inf"):
        raise UsageError(f"{where}: start_s and end_s are not a span of time; correct them")
    return GivenLabel(Path(path), Window(start_s, end_s), label.strip())


def _dict(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: not an object; export as JSON again")
    return value


def join_support(support: str | Path, answers: Sequence[GivenLabel]) -> int:
    """Add answers to a support CSV with the columns path, label, start_s, end_s; it may be new.

    A clip that the file holds already gets the new label. The file is replaced as a whole, so an
    interruption leaves the old one.

    Returns:
        The number of clips that were added or changed.

    Raises:
        SupportError: the file is not a support set.
        UsageError: it has other columns, is a folder, or cannot be written.
    """
    file = Path(support)
    if file.is_dir() or file.suffix.lower() != ".csv":
        raise UsageError(f"{file}: answers join a CSV file; give one, such as support.csv")
    rows = _rows(file) if file.exists() else {}
    changed = 0
    for answer in answers:
        span, path = answer.window, os.path.abspath(answer.path)  # noqa: PTH100 - keeps links
        times = ("", "") if span is None else (repr(span.start_s), repr(span.end_s))
        written, label = rows.get((path, *times), (path, None))
        changed += label != answer.label
        rows[(path, *times)] = (written, answer.label)
    with (
        explained(UsageError, f"{file}: cannot be written"),
        replacing(file) as part,
        part.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for (_, *times), (path, label) in rows.items():
            writer.writerow((path, label, *times))
    return changed


def _rows(file: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """Path as written and label, by place and times."""
    read_support(file, least_labels=1)  # refuses what is not one, with file, line and column
    with (
        open_input(file) as opened,
        io.TextIOWrapper(opened, encoding="utf-8-sig", newline="") as stream,
    ):
        reader_rows = csv.DictReader(stream)
        others = set(reader_rows.fieldnames or ()) - set(_COLUMNS)
        if others:
            raise SupportError(
                f"{file}: answers cannot join a table with the column {sorted(others)[0]!r}; keep "
                f"{', '.join(_COLUMNS)}"
            )
        rows: dict[tuple[str, ...], tuple[str, str]] = {}
        for row in reader_rows:
            times = tuple(repr(float(row[n])) if row.get(n) else "" for n in ("start_s", "end_s"))
            rows[(_place(file, row["path"]), *times)] = (row["path"], row["label"])
        return rows


def _place(file: Path, path: str) -> str:
    """The absolute path of a cell; relative ones count from the file's folder."""
    return os.path.normpath(file.absolute().parent / path)
