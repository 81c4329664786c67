"""Two runs next to each other: what differs first, then the figures, then the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

from vlar.errors import ModelError, ProtocolError
from vlar.metrics.checks import Record
from vlar.metrics.figures import Figure
from vlar.types import JsonDict
from vlar.version import pip_install

_QUIET = ("moves.data.folders",)  # where the data lie moves no figure
_SHORT = 60


@dataclass(frozen=True)
class Difference(Record):
    """One setting that two runs do not share."""

    key: str
    first: str
    second: str


@dataclass(frozen=True)
class ReportRow:
    """One figure in several runs.

    Attributes:
        name: Of the figure.
        where: What it is of.
        values: One a run; None where the run has no such figure.
        published: ``(method, value, spread, source)`` of the cards.
    """

    name: str
    where: Mapping[str, str]
    values: tuple[Figure | None, ...]
    published: tuple[tuple[str, float, float | None, str], ...] = ()

    def to_dict(self) -> JsonDict:
        """JSON object."""
        return {
            "name": self.name,
            "where": dict(self.where),
            "runs": [value.to_dict() if value else None for value in self.values],
            "published": [
                dict(zip(("method", "value", "spread", "source"), row, strict=True))
                for row in self.published
            ],
        }


def differences(first: JsonDict, second: JsonDict) -> list[Difference]:
    """Everything that moves a figure and is not the same in two runs."""
    a, b = dict(_flat({"moves": first["moves"]})), dict(_flat({"moves": second["moves"]}))
    found: list[Difference] = []
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key) and not key.startswith(_QUIET):
            both = [each.get(key, "(not there)") for each in (a, b)]
            words = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in both]
            if words[0] == words[1]:  # they differ in a later digit
                words = [str(value) for value in both]
            found.append(Difference(key.removeprefix("moves."), *map(_short, words)))
    return found


def rows(runs: Sequence[JsonDict]) -> list[ReportRow]:
    """The figures of runs of one protocol, in the order of the first that has them."""
    by: dict[tuple[str, frozenset[Any]], list[Figure | None]] = {}
    for number, run in enumerate(runs):
        for data in run["figures"]:
            figure = Figure.restore(data)
            key = (figure.name, frozenset(figure.where.items()))
            by.setdefault(key, [None] * len(runs))[number] = figure
    found: list[ReportRow] = []
    for (name, where), values in by.items():
        place = dict(where)
        found.append(ReportRow(name, place, tuple(values), tuple(_published(runs, name, place))))
    return found


def domain_means(runs: Sequence[JsonDict]) -> list[ReportRow]:
    """Top-1 of several cards, averaged over each domain that they name, and over all cards.

    Returns:
        Rows with ``protocol``, ``domain`` and ``cards``; none where fewer than two cards have one.
    """
    by: dict[tuple[str, str, str], list[Figure]] = {}
    for run in runs:
        domain = run.get("about", {}).get("domain")
        if domain is None:
            continue
        for figure in map(Figure.restore, run["figures"]):
            rest = {k: v for k, v in figure.where.items() if k != "shots"}
            if figure.name == "top1" and rest in ({}, {"seed": "0"}):
                for name in (domain, "all"):
                    key = (run["protocol"], name, figure.where.get("shots", ""))
                    by.setdefault(key, []).append(figure)
    found: list[ReportRow] = []
    for (protocol, domain, shots), figures in by.items():
        where = {"protocol": protocol, "domain": domain, "cards": str(len(figures))}
        where |= {"shots": shots} if shots else {}
        mean = sum(figure.value for figure in figures) / len(figures)
        found.append(ReportRow("top1", where, (Figure("top1", mean, n=sum(f.n for f in figures)),)))
    several = {row.where["protocol"] for row in found if int(row.where["cards"]) > 1}
    return [row for row in found if row.where["protocol"] in several]


def pairs_of(files: Sequence[Sequence[JsonDict]]) -> Iterator[list[JsonDict]]:
    """Runs of several files that belong together: the same card and protocol, or the same protocol.

    Each group has at most one run a file, in the order of the files.
    """
    left = [list(runs) for runs in files]
    while any(left):
        first = next(runs for runs in left if runs)[0]
        group: list[JsonDict] = []
        for runs in left:
            same = [r for r in runs if r["protocol"] == first["protocol"]]
            exact = [r for r in same if r["card"] == first["card"]]
            if chosen := (exact or same)[:1]:
                group += chosen
                runs.remove(chosen[0])
        yield group


def sentence(row: ReportRow) -> str:
    """One figure as a line: its name, what it is of, one value a run, the published ones."""
    cells = "  ".join(f"{cell(value):>20}" for value in row.values)
    published = "; ".join(
        f"{method} {percent(value)}{f' +- {percent(spread)}' if spread is not None else ''}"
        for method, value, spread, _ in row.published
    )
    return f"{title(row.name, row.where):<46} {cells}" + (
        f"   published: {published}" if published else ""
    )


def averaged(keys: Iterable[tuple[str, Mapping[str, str]]]) -> list[bool]:
    """Mask of the figures that have a mean over seeds, so that a summary may leave them out."""
    listed = [(name, dict(where)) for name, where in keys]
    there = {(name, frozenset(where.items())) for name, where in listed}
    return [
        "seed" in where
        and (name, frozenset((k, v) for k, v in where.items() if k != "seed")) in there
        for name, where in listed
    ]


def lines(figures: Sequence[Figure]) -> list[str]:
    """The figures of one run, each with those under changed clips to its right.

    Figures of one seed are left out where their mean over seeds is there.
    """
    extra = averaged((figure.name, figure.where) for figure in figures)
    figures = [figure for figure, left_out in zip(figures, extra, strict=True) if not left_out]
    columns = list(dict.fromkeys(figure.under for figure in figures))
    by: dict[tuple[str, str], dict[str, Figure]] = {}
    for figure in figures:
        rest = {k: v for k, v in figure.where.items() if k != "under"}
        by.setdefault((figure.name, title("", rest)), {})[figure.under] = figure
    head = f"{'':<46} " + "  ".join(f"{name:>20}" for name in columns)
    found = [head] if len(columns) > 1 else []
    for (name, where), cells in by.items():
        values = "  ".join(f"{cell(cells[c]) if c in cells else '':>20}" for c in columns)
        found.append(f"{f'{name} {where}'.strip():<46} {values}".rstrip())
    return found


def heading(run: JsonDict) -> str:
    """Card and protocol of a run, with the number of labels and splits."""
    splits = run["moves"].get("data", {}).get("splits", [])
    labels = sorted({row["labels"] for row in splits})
    size = f", {' or '.join(map(str, labels))} labels" if labels else ""
    several = f", {len(splits)} splits" if len(splits) > 1 else ""
    return f"{run['card']}, {run['protocol']}{size}{several}"


def title(name: str, where: Mapping[str, str]) -> str:
    """A figure's name with what it is of.

    >>> title("top1", {"split": "1", "shots": "4"})
    'top1 (split 1, shots 4)'
    """
    of = ", ".join(f"{k} {v}" for k, v in where.items())
    return f"{name} ({of})".strip() if of else name


def cell(figure: Figure | None) -> str:
    """A value with its interval, in percent; a rank as it is.

    >>> cell(Figure("top1", 0.5, 0.4, 0.61, 10)), cell(Figure("median_rank", 7.0))
    ('50.0 [40.0-61.0]', '7.0')
    """
    if figure is None or figure.value != figure.value:
        return "-"
    if not figure.is_share:
        return f"{figure.value:.1f}"
    if figure.low is None or figure.high is None:
        return percent(figure.value)
    return f"{percent(figure.value)} [{percent(figure.low)}-{percent(figure.high)}]"


def percent(value: float) -> str:
    """A share in percent.

    >>> percent(0.254)
    '25.4'
    """
    return f"{100 * value:.1f}"


def _published(
    runs: Sequence[JsonDict], name: str, where: Mapping[str, str]
) -> Iterator[tuple[str, float, float | None, str]]:
    seen: set[Any] = set()
    for run in runs:
        for row in run.get("published", []):
            key = (row["method"], row["value"], row["source"])
            other = row["protocol"] not in (None, run["protocol"])
            if other or row["figure"] != name or row["where"] != dict(where):
                continue
            if key not in seen:
                seen.add(key)
                yield row["method"], row["value"], row["spread"], row["source"]


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in cast("dict[str, Any]", data).items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list) and any(
        isinstance(x, (dict, list)) for x in cast("list[Any]", data)
    ):
        for number, value in enumerate(cast("list[Any]", data)):
            yield from _flat(value, f"{prefix}[{number}]")
    else:
        yield prefix, data


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 2]}.."


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
        raise ModelError(f"plots need matplotlib: {pip_install('eval')}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(pairs_of([listed for _, listed in runs]))
    tables = [_drawn(rows(group)) for group in groups]
    names = {id(run): path.stem for path, listed in runs for run in listed}
    ratios = [1.2 + 0.25 * len(table) for table in tables]
    height = sum(ratios)
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


def _drawn(table: Sequence[ReportRow]) -> list[ReportRow]:
    """The rows of a plot: shares, without deviations and without seeds that have a mean."""
    extra = averaged((row.name, row.where) for row in table)
    kept = [row for row, left_out in zip(table, extra, strict=True) if not left_out]
    shares = [row for row in kept if all(v is None or 0 <= v.value <= 1 for v in row.values)]
    return [row for row in shares if not row.name.endswith(" std")]


def _draw(
    axis: Any, group: Sequence[JsonDict], table: Sequence[ReportRow], names: list[str]
) -> None:
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


def _figures(names: Sequence[str], table: Sequence[ReportRow]) -> str:
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
