"""``subsets``: learn from some sensors, be tested with others, for every subset of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.features import check_no_empty_class, draw_shots
from vlar.evaluation.learning import LEARNER, Fitted
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance
from vlar.heads.support import SupportItem
from vlar.media.bundle import ENDING, bundle_parts, write_bundle
from vlar.media.lookup import sensors_of
from vlar.metrics.figures import Figure
from vlar.model.label_heads import LabelClassifier
from vlar.registry import register
from vlar.types import JsonDict

_JOIN = "+"
WORDS = "words"


@register("protocol", "subsets")
class Subsets(Protocol):
    """Every non-empty subset of the sensors as a row (learned from) and as a column (tested with).

    A cell is over the test clips that have one of its sensors. ``mean`` and ``worst`` are over all
    cells, ``apart`` is the mean of cells whose test sensors were never learned from. Settings:
    ``sensors`` (None for all that the test clips have), ``rows`` (None for every subset, or a list
    of lists of sensors), ``shots`` (list of K, 0 for all clips), ``seeds``, ``method``,
    ``recipe``, ``unknown``. The row ``words`` goes by texts, without an example.
    """

    name = "subsets"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "sensors": None,
        "rows": None,
        "shots": [0],
        "seeds": [0],
        "method": "auto",
        **LEARNER,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        if any(not isinstance(k, int) or k < 0 for k in plan.settings["shots"]):
            raise ProtocolError(f"shots is {plan.settings['shots']}; give whole numbers, 0 for all")
        for part in plan.parts:
            check_no_empty_class(part.train, part.labels, "training")
            names = _sensors(plan.settings, part)
            strange = [name for row in _rows(plan.settings, names) for name in row]
            for name in strange:
                if name not in names:
                    raise ProtocolError(f"rows: no test clip has the sensor {name!r}")
            cells = len(_rows(plan.settings, names)) * len(subsets(names))
            plan.counts |= {"sensors": names, "cells": cells}

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        names = _sensors(run.settings, part)
        read = [name for name, _ in run.core.encoder.sampling.sensors] or [run.core.modality]
        if strange := [name for name in names if name not in read]:
            raise ProtocolError(
                f"the clips have the sensor {strange[0]!r}, and model {run.core.name!r} reads "
                f"{' and '.join(read)}; choose another model, or set 'sensors'"
            )
        labels, guard = part.labels, run.guard(part.test)
        truth = np.array([labels.index(item.label) for item in part.test.items], np.int64)
        figures = chance(truth, len(labels), len(truth))
        with tempfile.TemporaryDirectory() as folder:
            tested = {
                columns: recorded_by(part.test.items, columns, _new(folder, "test", columns))
                for columns in subsets(names)
            }
            figures += _cells(run, part, None, tested, {"train": WORDS})
            for shots, seed in product(run.settings["shots"], run.settings["seeds"]):
                drawn = _drawn(part, shots, seed)
                guard.fit_set(drawn)  # of the clips themselves, before a part is taken away
                where = {"shots": shots or None, "seed": seed}
                cells: list[Figure] = []
                for row in _rows(run.settings, names):
                    items = recorded_by(drawn, row, _new(folder, f"{shots}-{seed}", row))
                    _check_labels(items, labels, row)
                    fitted = run.fit(guard.fit_set(items), seed)
                    cells += _cells(run, part, fitted, tested, {**where, "train": _JOIN.join(row)})
                figures += [*cells, *_summary(cells, where)]
        return figures

    def lines(self, figures: Sequence[Figure], tables: JsonDict) -> list[str]:
        cells = [row for row in figures if row.name == "top1"]
        learned = [row for row in cells if row.where["train"] != WORDS]
        shown = [row for row in learned if "seed" not in row.where] or learned
        columns = list(dict.fromkeys(row.where["test"] for row in cells))
        width = max(map(len, [*columns, WORDS, "learned from"])) + 1
        texts: list[str] = []
        for shots in dict.fromkeys(row.where.get("shots") for row in shown):
            texts.append(f"{'learned from':<{width}}")
            texts[-1] += "".join(f"{name:>{width}}" for name in columns)
            texts[-1] += f"   {shots} clips a label" if shots is not None else ""
            cells_of = [row for row in shown if row.where.get("shots") == shots]
            cells_of = [row for row in cells if row.where["train"] == WORDS] + cells_of
            for name in dict.fromkeys(row.where["train"] for row in cells_of):
                by = {r.where["test"]: r.text() for r in cells_of if r.where["train"] == name}
                row = "".join(f"{by.get(column, '-'):>{width}}" for column in columns)
                texts.append(f"{name:<{width}}{row}")
        others = [row for row in figures if "train" not in row.where]
        return [*texts, *super().lines(others, tables)]


def _new(folder: str, name: str, sensors: Sequence[str]) -> Path:
    path = Path(folder, name, _JOIN.join(sensors))
    path.mkdir(parents=True)
    return path


def _check_labels(
    items: Sequence[SupportItem], labels: Sequence[str], sensors: Sequence[str]
) -> None:
    example_labels = {item.label for item in items}
    if absent := [label for label in labels if label not in example_labels]:
        raise ProtocolError(
            f"no training clip of {absent[0]!r} has {' or '.join(sensors)}; leave that row out of "
            "'rows', or record it"
        )


def _sensors(settings: JsonDict, part: RunSplit) -> list[str]:
    """The sensors by name, in the order in which the test clips list them."""
    listed = (name for item in part.test.items for name in sensors_of(item.path))
    names = list(dict.fromkeys(listed))
    sensors = settings["sensors"]
    if sensors is None:
        return names
    if strange := [name for name in sensors if name not in names]:
        raise ProtocolError(f"sensors: no test clip has {strange[0]!r}; they have {names}")
    return list(sensors)


def _rows(settings: JsonDict, names: Sequence[str]) -> list[tuple[str, ...]]:
    rows = settings["rows"]
    return subsets(names) if rows is None else [tuple(row) for row in rows]


def _drawn(part: RunSplit, shots: int, seed: int) -> list[SupportItem]:
    items = list(part.train.items)
    return draw_shots(items, part.labels, shots, seed) if shots else items


def _cells(
    run: Run,
    part: RunSplit,
    fitted: Fitted | None,
    tested: dict[tuple[str, ...], list[SupportItem]],
    where: JsonDict,
) -> list[Figure]:
    """The figures of one row; a column without a clip is left out."""
    head, core = (fitted.head, fitted.core) if fitted else (None, run.core)
    scorer: dict[Hashable, LabelClassifier] = {0: run.classifier(part.labels, core=core, head=head)}
    figures: list[Figure] = []
    for columns, items in tested.items():
        if items:
            scored = run.scores(scorer, items, core=core, one_view=head is not None)
            rows = accuracies(scored, 0, part.labels, **where, test=_JOIN.join(columns))
            figures += [figure for figure in rows if figure.name == "top1"]
    return figures


def _summary(cells: Sequence[Figure], where: JsonDict) -> list[Figure]:
    """Mean and worst of all cells, and the mean of those tested with other sensors alone."""

    def sides(cell: Figure) -> list[set[str]]:
        return [set(cell.where[name].split(_JOIN)) for name in ("train", "test")]

    apart = [cell.value for cell in cells if not set.intersection(*sides(cell))]
    values = [cell.value for cell in cells]
    n = sum(cell.n for cell in cells)
    rows = [("mean", np.mean(values)), ("worst", np.min(values))]
    rows += [("apart", np.mean(apart))] if apart else []
    return [Figure(name, float(value), n=n).of(**where) for name, value in rows]


_MOST = 8  # sensors: 255 subsets, and as many models


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset of M names, 2^M - 1 of them, the smallest first.

    >>> subsets(["skeleton", "imu"])
    [('skeleton',), ('imu',), ('skeleton', 'imu')]

    Raises:
        ProtocolError: no name is given, one comes twice, or there are over eight.
    """
    if not names or len(set(names)) < len(names):
        raise ProtocolError(f"the sensors are {list(names)}; name each once, and at least one")
    if len(names) > _MOST:
        raise ProtocolError(
            f"{len(names)} sensors have {2 ** len(names) - 1} subsets; name at most {_MOST}"
        )
    return [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]


def recorded_by(
    items: Iterable[SupportItem], sensors: Sequence[str], folder: Path
) -> list[SupportItem]:
    """The clips with the recordings of some sensors alone; those that have none are left out.

    Args:
        items: Bundles and plain recordings, whole.
        sensors: What was recorded.
        folder: Gets a bundle file for each bundle that loses a part.

    Raises:
        ProtocolError: an item is a span: without its first part a bundle has another clock.
    """
    complete: list[SupportItem] = []
    home = Path(os.path.realpath(folder))
    for number, item in enumerate(items):
        recorded = sensors_of(item.path)
        names = [name for name in recorded if name in sensors]
        if names == recorded:  # nothing is lost, or it cannot be read, which reading it will report
            complete.append(item)
            continue
        if item.window is not None:
            raise ProtocolError(f"{item.path}: a span of a bundle; cut it into a file of its own")
        if names:
            parts = bundle_parts(item.path)
            chosen = {n: replace(parts[n], path=parts[n].path.absolute()) for n in names}
            path = write_bundle(home / f"{number}-{'+'.join(names)}{ENDING}", chosen)
            complete.append(replace(item, path=path))
    return complete
