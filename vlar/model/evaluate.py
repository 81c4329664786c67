"""Figures of a model on labelled recordings, answered with the code of ``classify``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlar.errors import LabelError, SupportError
from vlar.heads.support import Support, SupportItem, cell, further_columns, read_support
from vlar.language.clean import label_key
from vlar.language.labels import Descriptions, LabelList, LabelSet, parse_labels
from vlar.metrics.result import EvaluatedClip, Evaluation, evaluation_of
from vlar.model.label_heads import LabelClassifier
from vlar.model.people import about
from vlar.model.recogniser import Recogniser
from vlar.model.requests import EvaluateRequest
from vlar.types import Failure
from vlar.version import __version__

_NAMED = 20  # clips or labels that a message names


def evaluate(model: Recogniser, request: EvaluateRequest) -> Evaluation:
    """The figures of a model on labelled recordings, as ``Model.evaluate`` describes."""
    support = request.labelled
    if not isinstance(support, Support):
        facts = further_columns(Path(support)) if request.by else ()
        support = read_support(support, model.core.modality, least_labels=1, facts=facts)
    _check_columns(support, request.by)
    label_set = _asked(model, support, request.labels)
    classifier = model.classifier(label_set)
    if len(classifier.labels) < 2:
        raise LabelError(
            f"only the label {', '.join(classifier.labels)!r} is in the list, so every answer is "
            "right; give the labels to choose from"
        )
    columns = _columns(classifier, support)
    _check_items(support, columns, label_set.mode)
    scored, failed, synthetic = _score(model, classifier, support.items, columns, request)
    if not scored:
        named = "; ".join(row.message for row in failed[:_NAMED])
        raise SupportError(
            f"{support.source}: none of the {len(failed)} clips can be read: {named}"
        )
    settings = _settings(model, classifier, label_set.descriptions)
    settings |= {"synthetic": synthetic} if synthetic else {}
    parts = _label_parts(label_set.listed, support, columns, len(classifier.labels))
    return evaluation_of(
        classifier.labels,
        scored,
        failed,
        parts,
        model=model.core.name,
        source=support.source,
        mode=label_set.mode,
        settings=settings,
    )


def _asked(model: Recogniser, support: Support, asked: LabelSet) -> LabelSet:
    """The labels to choose from: those given, else an adapted model's own, else the clips'."""
    if asked.listed is not None or model.adapted is not None:
        return asked
    first: dict[str, str] = {}
    for label in support.labels:
        same = first.setdefault(label_key(label), label)
        if same != label:
            raise LabelError(
                f"{support.source}: the labels {same!r} and {label!r} read the same; give their "
                "clips one label"
            )
    return replace(asked, listed=parse_labels(support.labels))


def _columns(classifier: LabelClassifier, support: Support) -> dict[str, int]:
    """The column of each label of the clips, however it is spelled."""
    columns: dict[str, int] = {}
    for names in (classifier.labels, classifier.keys):
        for column, name in enumerate(names):
            columns.setdefault(label_key(name), column)
    missing = [label for label in support.labels if label_key(label) not in columns]
    if missing:
        count = Counter(label for item in support.items for label in item.labels)
        named = ", ".join(f"{label!r} ({count[label]})" for label in missing[:_NAMED])
        raise LabelError(
            f"{support.source}: {len(missing)} of its labels are not in the list to choose from, "
            f"with clips: {named}; add them to the list or leave their clips out"
        )
    return {label: columns[label_key(label)] for label in support.labels}


def _check_columns(support: Support, by: Sequence[str]) -> None:
    """Refuse columns that no example has.

    Raises:
        SupportError: the message lists those that there are.
    """
    for name in by:
        if all(cell(item, name) is None for item in support.items):
            names = dict.fromkeys(name for item in support.items for name in item.facts)
            raise SupportError(
                f"{support.source}: no column {name!r} to slice by; there are "
                f"{', '.join(['label', 'group', *names])}, in a CSV file"
            )


def _check_items(support: Support, columns: Mapping[str, int], mode: str) -> None:
    """Refuse clips that overlap: one with several labels where each clip shows one.

    Raises:
        SupportError: the message names the clip and its labels.
    """
    if mode == "multi":
        return
    shown: dict[tuple[str, Any], str] = {}
    real: dict[Path, str] = {}
    for item in support.items:
        if len(item.labels) > 1:
            raise SupportError(
                f"{item.path} shows {len(item.labels)} labels ({', '.join(item.labels)}); evaluate "
                "it in mode 'multi'"
            )
        if item.path not in real:
            real[item.path] = os.path.realpath(item.path)
        key = real[item.path], item.window
        same = shown.setdefault(key, item.label)
        if columns[same] != columns[item.label]:
            raise SupportError(
                f"{item.path} is a clip of {same!r} and of {item.label!r}: the classes overlap; "
                "keep one, or write both into a column 'labels' and evaluate in mode multi"
            )


def _score(
    model: Recogniser,
    classifier: LabelClassifier,
    items: Sequence[SupportItem],
    columns: Mapping[str, int],
    request: EvaluateRequest,
) -> tuple[list[EvaluatedClip], list[Failure], int]:
    """Scores of each clip, one after the other: features are not kept."""
    progress = request.progress
    if progress is not None:
        progress(0, total=len(items))
    scored: list[EvaluatedClip] = []
    failed: list[Failure] = []
    synthetic = 0
    sampler = model.view_sampler
    views = sampler.sample_each((item.path, item.window) for item in items)
    views = about(views, items, sampler.reader)
    for item, span in zip(items, model.core.encode_spans(views), strict=True):
        if isinstance(span, Failure):
            failed.append(span)
        else:
            synthetic += span.synthetic
            scores = classifier.scores([span.encoded])
            unknown = float(scores.unknown[0]), bool(scores.is_unknown[0])
            scored.append(
                EvaluatedClip.of(
                    classifier.labels,
                    sorted({columns[label] for label in item.labels}),
                    scores.probability[0],
                    unknown,
                    path=item.path,
                    start_s=span.window.start_s,
                    end_s=span.window.end_s,
                    group=item.group,
                    parts=item.parts,
                    cells={name: cell(item, name) or "" for name in request.by},
                )
            )
        if progress is not None:
            progress(1)
    return scored, failed, synthetic


def _label_parts(
    listed: LabelList | None, support: Support, columns: Mapping[str, int], n_labels: int
) -> list[Mapping[str, str]]:
    """Parts of the C labels, from the list or the clips; none where one label has no parts."""
    parts: list[Mapping[str, str]] = [{} for _ in range(n_labels)]
    if listed is not None and listed.parts:
        parts = list(listed.parts)
    for item in support.items:
        if item.parts:
            parts[columns[item.label]] = item.parts
    has_parts = all(parts) and all(item.parts for item in support.items)
    return parts if has_parts else []


def _settings(
    model: Recogniser, classifier: LabelClassifier, descriptions: Descriptions
) -> dict[str, Any]:
    """The settings that move the figures and are not in them."""
    kinds = descriptions if isinstance(descriptions, str) else ",".join(descriptions)
    return {
        "encoder": model.core.encoder.name,
        "fingerprint": model.core.fingerprint,
        "frames": model.core.n_frames,
        "templates": model.core.template_set,
        "descriptions": kinds,
        "adapted": model.adapted is not None,
        "calibrated": classifier.calibration is not None,
        "vlar": __version__,
    }
