"""Clips to label as tasks of labelling tools, and their answers back: Label Studio, FiftyOne, CSV.

Label Studio: its JSON of tasks with predictions, and of annotations. FiftyOne: the ``samples.json``
of a data set in its own format. docs/answers.md shows both. Files that come back are other
people's: they are read as strict JSON and checked field by field.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar.characters import fault
from vlar.errors import UsageError
from vlar.review.candidates import ReviewItem
from vlar.safety.files import read_file
from vlar.safety.strict_json import parse_json
from vlar.types import JsonDict, Window

LABEL_STUDIO, FIFTYONE, CSV = "label-studio", "fiftyone", "csv"
FORMATS = (LABEL_STUDIO, FIFTYONE, CSV)
CONFIG = (
    '<View><Video name="video" value="$video"/>'
    '<Choices name="label" toName="video" choice="single">{choices}</Choices></View>'
)
_MOST_BYTES = 256 << 20
_LONGEST_LABEL = 4000


@dataclass(frozen=True)
class Answer:
    """What a person said about a clip."""

    path: Path
    window: Window | None
    label: str


def tasks(items: Sequence[ReviewItem], kind: str, model: str) -> str:
    """The text of a file of tasks, in the order of review.

    Args:
        items: Clips to label.
        kind: One of ``FORMATS``.
        model: Name of the model that guessed.
    """
    if kind == LABEL_STUDIO:
        return json.dumps([_studio_task(item, model) for item in items], indent=1) + "\n"
    if kind == FIFTYONE:
        return json.dumps({"samples": [_sample(item) for item in items]}, indent=1) + "\n"
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("path", "label", "start_s", "end_s"))
    for item in items:
        span = ("", "") if item.window is None else (item.window.start_s, item.window.end_s)
        writer.writerow((item.path, "", *span))
    return text.getvalue()


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


def read_answers(file: str | Path) -> list[Answer]:
    """The answers of a file that a labelling tool, or a person with an editor, has filled in.

    The kind is found by content. Clips without an answer, and answers that were skipped or
    cancelled, are left out; of several answers to one clip the last one counts.

    Raises:
        UsageError: not one of the formats; the message has the place.
    """
    path = Path(file)
    try:
        text = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.suffix.lower() == ".csv":
        found = list(_from_csv(path, text))
    else:
        try:
            data = parse_json(text)
        except ValueError as error:
            raise UsageError(f"{path}: not JSON of a labelling tool ({error})") from error
        if isinstance(data, list):
            found = [a for at, task in enumerate(data) for a in _from_task(path, at, task)]
        elif isinstance(data, dict) and isinstance(data.get("samples"), list):
            found = [a for at, row in enumerate(data["samples"]) for a in _from_row(path, at, row)]
        else:
            raise UsageError(
                f"{path}: neither a list of Label Studio tasks nor FiftyOne's samples.json; export "
                "as JSON"
            )
    return list({(answer.path, answer.window): answer for answer in found}.values())


def _from_task(file: Path, at: int, task: Any) -> Iterator[Answer]:
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


def _from_row(file: Path, at: int, row: Any) -> Iterator[Answer]:
    where = f"{file}, sample {at + 1}"
    truth = _dict(where, row).get("ground_truth")
    if truth is not None:
        yield _answer(where, row.get("filepath"), row, _dict(where, truth).get("label"))


def _from_csv(file: Path, data: bytes) -> Iterator[Answer]:
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


def _answer(where: str, path: Any, facts: JsonDict, label: Any) -> Answer:
    for name, text in (("path", path), ("label", label)):
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_LABEL:
            raise UsageError(f"{where}: its {name} is not a usable text; remove or correct it")
        if wrong := fault(text):
            raise UsageError(f"{where}: its {name} holds {wrong}; remove or correct it")
    times = facts.get("start_s"), facts.get("end_s")
    if times == (None, None):
        return Answer(Path(path), None, label.strip())
    start_s, end_s = (float(t) if isinstance(t, int | float) else -1.0 for t in times)
    if not 0 <= start_s < end_s < float("inf"):
        raise UsageError(f"{where}: start_s and end_s are not a span of time; correct them")
    return Answer(Path(path), Window(start_s, end_s), label.strip())


def _dict(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: not an object; export as JSON again")
    return value
