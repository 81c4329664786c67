"""``slices``: accuracy by any column of the table of clips, such as light or scene."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vlar.errors import ProtocolError
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, accuracies, closed
from vlar.evaluation.scores import Figure
from vlar.metrics.classification import ranks
from vlar.metrics.slices import FEWEST, slices
from vlar.registry import register
from vlar.types import JsonDict


@register("protocol", "slices")
class Slices(Protocol):
    """Top-1 of the clips of each value of some columns, next to that of all clips.

    Settings: ``by`` (names of columns; a layout gives the cells of its clips as facts).
    """

    name = "slices"
    defaults: ClassVar[JsonDict] = {"by": []}

    def check(self, plan: Plan) -> None:
        by: list[str] = plan.settings["by"]
        if not by:
            raise ProtocolError("slices needs the setting 'by': names of columns")
        for part in plan.parts:
            known = {name for item in part.test.items for name in item.facts}
            strange = [name for name in by if name not in known]
            if strange:
                raise ProtocolError(
                    f"the clips have no column {strange[0]!r}; there are "
                    f"{', '.join(sorted(known)) or 'none'}"
                )
            for name in by:
                cells = [item.facts.get(name, "") for item in part.test.items]
                few = [value for value in dict.fromkeys(cells) if cells.count(value) < FEWEST]
                if few:
                    plan.notes.append(f"{name}: fewer than {FEWEST} clips of {', '.join(few)}")

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        where = {"split": part.name or None}
        scored = run.scores({0: run.classifier(part.labels)}, part.test.items, run.changes)
        found = accuracies(scored, 0, part.labels, **where)
        by, truth = run.settings["by"], scored.truth(part.labels)
        cells = [{name: item.facts.get(name, "") for name in by} for item in scored.items]
        for (_, change), scores in scored.by.items():
            under: Any = change.key if change else None
            right = np.asarray(ranks(closed(scores), truth) < 1)
            for row in slices(right, cells, scored.groups):
                ends = (row.interval.low, row.interval.high) if row.interval else (None, None)
                figure = Figure("top1", row.accuracy, *ends, row.n)
                found.append(figure.of(**where, under=under, by=row.column, value=row.value or "-"))
        return found
