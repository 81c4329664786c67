"""``corruption``: what a model loses as its clips get worse, and which corruption it loses by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from vlar import registry
from vlar.errors import ProtocolError
from vlar.evaluation.corruptions.base import SEVERITIES, names_for
from vlar.evaluation.features import Change
from vlar.evaluation.learning import LEARNER, NONE
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, chance
from vlar.metrics.figures import Figure, percent
from vlar.registry import register
from vlar.types import JsonDict

_FIRST = 3


@register("protocol", "corruption")
class CorruptionRobustness(Protocol):
    """Accuracy on clean clips, under each corruption and severity, and means of these.

    ``robustness`` is relative: ``1 - (clean - mean) / clean``. ``falls first`` orders the
    corruptions by the severity at which top-1 leaves the interval of the clean figure, then by
    what they cost. Settings: ``names`` (None for all of the sensor), ``severities``, ``seed``,
    ``method`` (``none`` goes by texts; a closed form learns from the clean training clips),
    ``unknown``, ``recipe``.
    """

    name = "corruption"
    defaults: ClassVar[JsonDict] = {
        "names": None,
        "severities": [1, 3, 5],
        "seed": 0,
        "method": NONE,
        **LEARNER,
    }

    def check(self, plan: Plan) -> None:
        plan.learner.check()
        for name in _names(plan.settings):
            registry.get("corruption", name)
        wrong = [s for s in plan.settings["severities"] if s not in SEVERITIES]
        if wrong:
            raise ProtocolError(f"severity {wrong[0]} is not one of {SEVERITIES}")
        plan.counts["conditions"] = 1 + len(_changes(plan.settings))

    def run(self, run: Run) -> list[Figure]:
        figures: list[Figure] = []
        for part in run.plan.parts:
            rows = self._part(run, part)
            run.tables["falls_first"] = falls_first(rows)
            figures += [row.of(split=part.name or None) for row in [*rows, *_means(rows)]]
        return figures

    def lines(self, figures: Sequence[Figure], tables: JsonDict) -> list[str]:
        clean, by = _clean(list(figures)), _by_name(list(figures))
        severities = sorted({row.under.partition("/")[2] for rows in by.values() for row in rows})
        texts = [f"{'corruption':<18} {'clean':>7} " + " ".join(f"{s:>6}" for s in severities)]
        texts[0] += f" {'mean':>7}"
        for name, cells_of_name in by.items():
            values = {row.under.partition("/")[2]: row.text() for row in cells_of_name}
            mean = percent(float(np.mean([row.value for row in cells_of_name])), "")
            cells = " ".join(f"{values.get(s, ''):>6}" for s in severities)
            texts.append(f"{name:<18} {clean.text():>7} {cells} {mean:>7}")
        others = [row for row in figures if row.name != "top1" and "corruption" not in row.where]
        texts += super().lines([clean, *others], tables)
        first = [row for row in tables.get("falls_first", []) if row["severity"] is not None]
        if not first:
            return [*texts, "no corruption takes top-1 below the interval of the clean figure"]
        named = (f"{row['corruption']} at severity {row['severity']}" for row in first[:_FIRST])
        return [*texts, f"falls first: {', '.join(named)}"]

    def _part(self, run: Run, part: RunSplit) -> list[Figure]:
        labels, fitted = part.labels, run.learned(part, part.labels, run.settings["seed"])
        core, head = fitted.core, fitted.head
        classifier = run.classifier(labels, core=core, head=head)
        changes = [None, *_changes(run.settings, run.core.modality)]
        one_view = head is not None
        scored = run.scores({0: classifier}, part.test.items, changes, core, one_view)
        blind = chance(scored.truth(labels), len(labels), len(scored.items))
        return [row for row in accuracies(scored, 0, labels) if row.name == "top1"] + blind


def _names(settings: JsonDict, modality: str = "video") -> list[str]:
    return settings["names"] or names_for(modality)


def _changes(settings: JsonDict, modality: str = "video") -> list[Change]:
    changes: list[Change] = []
    for name in _names(settings, modality):
        graded = registry.get("corruption", name).graded
        severities = settings["severities"] if graded else settings["severities"][-1:]
        changes += [Change(name, severity, settings["seed"]) for severity in severities]
    return changes


def _by_name(rows: list[Figure]) -> dict[str, list[Figure]]:
    by: dict[str, list[Figure]] = defaultdict(list)
    for row in rows:
        name, slash, _ = row.under.partition("/")
        if slash and row.name == "top1":
            by[name].append(row)
    return by


def _clean(rows: list[Figure]) -> Figure:
    return next(row for row in rows if row.name == "top1" and "under" not in row.where)


def _means(rows: list[Figure]) -> list[Figure]:
    clean, by = _clean(rows), _by_name(rows)
    families: dict[str, list[float]] = defaultdict(list)
    figures: list[Figure] = []
    for name, group in by.items():
        mean = float(np.mean([row.value for row in group]))
        families[registry.get("corruption", name).family].append(mean)
        figures.append(Figure("mean", mean, n=clean.n).of(corruption=name))
    for family, means in families.items():
        figures.append(Figure("mean", float(np.mean(means)), n=clean.n).of(family=family))
    every = float(np.mean([mean for means in families.values() for mean in means]))
    share = 1 - (clean.value - every) / clean.value if clean.value else float("nan")
    return [
        *figures,
        Figure("mean", every, n=clean.n).of(family="all"),
        Figure("robustness", share, n=clean.n),
    ]


def falls_first(rows: list[Figure]) -> list[dict[str, Any]]:
    """The corruptions in the order in which they break a model.

    Args:
        rows: The clean figure and those under changes, ``top1`` with ``under``.

    Returns:
        ``corruption``, ``severity`` (the mildest at which top-1 is below the clean interval; None
        where none is) and ``lost`` (the largest loss), worst first.
    """
    clean = _clean(rows)
    least = clean.low if clean.low is not None else clean.value
    rows_out: list[dict[str, Any]] = []
    for name, group in _by_name(rows).items():
        severe = [int(row.under.partition("/")[2]) for row in group if row.value < least]
        lost = clean.value - min(row.value for row in group)
        rows_out.append({"corruption": name, "severity": min(severe, default=None), "lost": lost})
    return sorted(
        rows_out, key=lambda row: (row["severity"] or 99, -row["lost"], row["corruption"])
    )
