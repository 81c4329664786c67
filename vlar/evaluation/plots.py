"""Pictures of an evaluation: confusion matrix, reliability diagram, accuracy of each label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vlar.errors import UsageError
from vlar.evaluation.result import Evaluation, confusion_matrix, most_confused

_MOST_ROWS = 40


def write_plots(result: Evaluation, folder: str | Path) -> list[Path]:
    """Write ``confusion.png``, ``reliability.png`` and ``labels.png`` into a folder.

    Needs matplotlib (extra ``eval``).

    Raises:
        UsageError: the folder or a file cannot be written.
    """
    from matplotlib.figure import Figure

    plots = {"confusion": _confusion, "reliability": _reliability, "labels": _labels}
    place = Path(folder)
    written: list[Path] = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, draw in plots.items():
            figure: Any = Figure(layout="constrained")
            draw(result, figure)
            figure.savefig(place / f"{name}.png", dpi=120)
            written.append(place / f"{name}.png")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); check it") from error
    return written


def _confusion(result: Evaluation, figure: Any) -> None:
    names, table = confusion_matrix(result)
    kept = most_confused(names, table, _MOST_ROWS)
    counts = np.array(table)
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[np.ix_(kept, kept)]
    side = max(4.0, 0.32 * len(kept) + 2)
    figure.set_size_inches(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share:
            colour = "white" if share > 0.6 else "black"
            count = counts[kept[row], kept[column]]
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    labels = [_plain(names[index]) for index in kept]
    axes.set_xticks(range(len(kept)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(kept)), labels, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")


def _reliability(result: Evaluation, figure: Any) -> None:
    rows = result.reliability
    figure.set_size_inches(4.5, 4.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7")
    most = max(row.count for row in rows)
    area = [20 + 300 * row.count / most for row in rows]
    axes.scatter([row.stated for row in rows], [row.right for row in rows], s=area, alpha=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="stated probability", ylabel="share right")
    axes.set_title(f"calibration error {result.ece:.3f}", fontsize=10)


def _labels(result: Evaluation, figure: Any) -> None:
    rows = [row for row in result.per_label if row.accuracy is not None]
    rows.sort(key=lambda row: (-(row.accuracy or 0.0), row.label))
    figure.set_size_inches(6, max(2.5, 0.22 * len(rows) + 1))
    axes = figure.subplots()
    axes.barh(range(len(rows)), [row.accuracy or 0.0 for row in rows])
    named = [f"{_plain(row.label)} ({row.n})" for row in rows]
    axes.set_yticks(range(len(rows)), named, fontsize=8)
    axes.set(xlim=(0, 1), xlabel="share recognised")


def _plain(label: str) -> str:
    """A label that matplotlib does not read as a formula."""
    return label.replace("$", r"\$")
