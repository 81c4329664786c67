"""Runs as one HTML page that needs nothing else, and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from vlar.errors import ModelError, ProtocolError
from vlar.evaluation.running.figures import Figure
from vlar.evaluation.running.report import (
    Row,
    averaged,
    cell,
    differences,
    pairs_of,
    percent,
    rows,
    title,
)
from vlar.types import JsonDict

Runs = Sequence[tuple[Path, list[JsonDict]]]
_BAR = 140  # pixels of the value 1
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
table { border-collapse: collapse; margin: .5em 0 1.5em }
td, th { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: left; vertical-align: top }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { fill: #4a78b5 } .range { stroke: #222 } .other { color: #666 } .bad { color: #a22 }
"""


def write_page(file: Path, runs: Runs) -> None:
    """Write one page: the runs, and for each card and protocol what differs and the figures.

    Raises:
        ProtocolError: the file cannot be written.
    """
    names = [path.stem for path, _ in runs]
    numbered = {id(run): n for n, (_, listed) in enumerate(runs) for run in listed}
    parts = ["<h1>Runs</h1>", _list_of(runs)]
    for group in pairs_of([listed for _, listed in runs]):
        own = [names[numbered[id(run)]] for run in group]
        parts.append(f"<h2>{escape(group[0]['card'])}, {escape(group[0]['protocol'])}</h2>")
        for name, other in zip(own[1:], group[1:], strict=True):
            parts.append(_differences(own[0], name, group[0], other))
        parts.append(_figures(own, rows(group)))
        parts.append(_missing(own, group))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise ProtocolError(f"{file}: cannot be written ({error.strerror})") from error


def write_plot(file: Path, runs: Runs) -> None:
    """Draw the figures of all runs as points with their intervals (PNG, SVG or PDF by ending).

    Raises:
        ModelError: matplotlib is not installed.
        ProtocolError: the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ModelError("plots need matplotlib: pip install 'vlar[eval]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(pairs_of([listed for _, listed in runs]))
    tables = [_drawn(rows(group)) for group in groups]
    names = {id(run): path.stem for path, listed in runs for run in listed}
    height = sum(1.2 + 0.25 * len(table) for table in tables)
    ratios = [1.2 + 0.25 * len(table) for table in tables]
    made, axes = pyplot.subplots(
        len(groups), 1, figsize=(9, max(height, 2)), squeeze=False,
        gridspec_kw={"height_ratios": ratios},
    )  # fmt: skip
    for (axis,), group, table in zip(axes, groups, tables, strict=True):
        _draw(axis, group, table, [names[id(run)] for run in group])
    made.tight_layout()
    try:
        made.savefig(file, dpi=110)
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{file}: cannot be written ({error})") from error
    finally:
        pyplot.close(made)


def _drawn(table: Sequence[Row]) -> list[Row]:
    """The rows of a plot: shares, without deviations and without seeds that have a mean."""
    extra = averaged((row.name, row.where) for row in table)
    kept = [row for row, left_out in zip(table, extra, strict=True) if not left_out]
    shares = [row for row in kept if all(v is None or 0 <= v.value <= 1 for v in row.values)]
    return [row for row in shares if not row.name.endswith(" std")]


def _draw(axis: Any, group: Sequence[JsonDict], table: Sequence[Row], names: list[str]) -> None:
    for number, name in enumerate(names):
        points = [(y, row.values[number]) for y, row in enumerate(table)]
        there = [(y, figure) for y, figure in points if figure is not None]
        low = [f.value - f.low if f.low is not None else 0.0 for _, f in there]
        high = [f.high - f.value if f.high is not None else 0.0 for _, f in there]
        axis.errorbar(
            [f.value for _, f in there], [y + 0.15 * number for y, _ in there],
            xerr=[[max(x, 0.0) for x in low], [max(x, 0.0) for x in high]],
            fmt="o", ms=4, label=name,
        )  # fmt: skip
    axis.set_yticks(range(len(table)), [title(row.name, row.where) for row in table], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(-0.02, 1.02)
    axis.margins(y=0.02)
    axis.set_title(f"{group[0]['card']}, {group[0]['protocol']}", fontsize=10)
    axis.legend(fontsize=8)


def _list_of(runs: Runs) -> str:
    cells = [
        f"<tr><td>{escape(path.stem)}<td>{escape(run['card'])}<td>{escape(run['protocol'])}"
        f"<td>{escape(str(run['moves']['model']['encoder']))}"
        f"<td class=other>{escape(run['moves']['model']['fingerprint'][:12])}"
        f"<td>{escape(run['made'])}<td class=n>{run['cost']['seconds']:.1f} s"
        for path, listed in runs
        for run in listed
    ]
    head = "<tr><th>run<th>card<th>protocol<th>encoder<th>fingerprint<th>made<th>time"
    return f"<table>{head}{''.join(cells)}</table>"


def _differences(first: str, second: str, a: JsonDict, b: JsonDict) -> str:
    found = differences(a, b)
    if not found:
        return f"<p>{escape(first)} and {escape(second)} share every setting.</p>"
    cells = "".join(
        f"<tr><td>{escape(row.key)}<td>{escape(row.first)}<td>{escape(row.second)}" for row in found
    )
    head = f"<tr><th>what differs<th>{escape(first)}<th>{escape(second)}"
    return f"<table>{head}{cells}</table>"


def _figures(names: Sequence[str], table: Sequence[Row]) -> str:
    head = "<tr><th>figure" + "".join(f"<th>{escape(name)}" for name in names) + "<th>published"
    lines: list[str] = []
    for row in table:
        cells = "".join(f"<td class=n>{cell(value)} {_bar(value)}" for value in row.values)
        published = "; ".join(
            f"{escape(method)} {percent(value)} <span class=other>({escape(source)})</span>"
            for method, value, _, source in row.published
        )
        lines.append(f"<tr><td>{escape(title(row.name, row.where))}{cells}<td>{published}")
    return f"<table>{head}{''.join(lines)}</table>"


def _bar(figure: Figure | None) -> str:
    if figure is None or not 0 <= figure.value <= 1:
        return ""
    line = ""
    if figure.low is not None and figure.high is not None:
        ends = f'x1="{_BAR * figure.low:.0f}" x2="{_BAR * figure.high:.0f}"'
        line = f"<line class=range {ends} y1=6 y2=6 />"
    bar = f'<rect class=bar width="{_BAR * figure.value:.0f}" height=12 />'
    return f"<br><svg width={_BAR} height=12>{bar}{line}</svg>"


def _missing(names: Sequence[str], group: Sequence[JsonDict]) -> str:
    parts: list[str] = []
    for name, run in zip(names, group, strict=True):
        notes = "; ".join(run["moves"]["data"]["notes"])
        if run["n_missing"] or run["failed"] or notes:
            parts.append(
                f"<p class=bad>{escape(name)}: {run['n_missing']} clips missing, "
                f"{len(run['failed'])} not readable. {escape(notes)}</p>"
            )
    return "".join(parts)
