"""Two runs next to each other: what differs first, then the figures, then the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from vlar.metrics.checks import Record
from vlar.metrics.figures import Figure, percent
from vlar.types import JsonDict

_QUIET = ("moves.data.folders",)  # where the data lie moves no figure
_SHORT = 60


@dataclass(frozen=True)
class RunDifference(Record):
    """One setting that two runs do not share."""

    key: str
    first: str
    second: str


@dataclass(frozen=True)
class ReportRow:
    """One figure in several runs.

    Attributes:
        name: Name of the figure.
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


def differences(first: JsonDict, second: JsonDict) -> list[RunDifference]:
    """Everything that moves a figure and is not the same in two runs."""
    a, b = dict(_flat({"moves": first["moves"]})), dict(_flat({"moves": second["moves"]}))
    rows: list[RunDifference] = []
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key) and not key.startswith(_QUIET):
            both = [run.get(key, "(not there)") for run in (a, b)]
            words = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in both]
            if words[0] == words[1]:  # they differ in a later digit
                words = [str(value) for value in both]
            rows.append(RunDifference(key.removeprefix("moves."), *map(_short, words)))
    return rows


def rows(runs: Sequence[JsonDict]) -> list[ReportRow]:
    """The figures of runs of one protocol, in the order of the first that has them."""
    by: dict[tuple[str, frozenset[Any]], list[Figure | None]] = {}
    for number, run in enumerate(runs):
        for figure in map(Figure.restore, run["figures"]):
            key = (figure.name, frozenset(figure.where.items()))
            by.setdefault(key, [None] * len(runs))[number] = figure
    rows: list[ReportRow] = []
    for values in by.values():
        first = next(figure for figure in values if figure is not None)
        published = tuple(_published(runs, first.name, first.where))
        rows.append(ReportRow(first.name, first.where, tuple(values), published))
    return rows


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
            place = {k: v for k, v in figure.where.items() if k != "shots"}
            if figure.name == "top1" and place in ({}, {"seed": "0"}):
                for name in (domain, "all"):
                    key = (run["protocol"], name, figure.where.get("shots", ""))
                    by.setdefault(key, []).append(figure)
    rows: list[ReportRow] = []
    for (protocol, domain, shots), figures in by.items():
        where = {"protocol": protocol, "domain": domain, "cards": str(len(figures))}
        where |= {"shots": shots} if shots else {}
        mean = sum(figure.value for figure in figures) / len(figures)
        rows.append(ReportRow("top1", where, (Figure("top1", mean, n=sum(f.n for f in figures)),)))
    several = {row.where["protocol"] for row in rows if int(row.where["cards"]) > 1}
    return [row for row in rows if row.where["protocol"] in several]


def pairs_of(files: Sequence[Sequence[JsonDict]]) -> Iterator[list[JsonDict]]:
    """Runs of several files that belong together: the same card and protocol, or the same protocol.

    Each group has at most one run a file, in the order of the files.
    """
    remaining = [list(runs) for runs in files]
    while any(remaining):
        first = next(runs for runs in remaining if runs)[0]
        group: list[JsonDict] = []
        for runs in remaining:
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
        f"{method} {percent(value, '')}"
        + (f" +- {percent(spread, '')}" if spread is not None else "")
        for method, value, spread, _ in row.published
    )
    return f"{title(row.name, row.where):<46} {cells}" + (
        f"   published: {published}" if published else ""
    )


def averaged(keys: Iterable[tuple[str, Mapping[str, str]]]) -> list[bool]:
    """Mask of the figures that have a mean over seeds, so that a summary may leave them out."""
    listed = [(name, dict(where)) for name, where in keys]
    cells = {(name, frozenset(where.items())) for name, where in listed}
    return [
        "seed" in where
        and (name, frozenset((k, v) for k, v in where.items() if k != "seed")) in cells
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
        place = {k: v for k, v in figure.where.items() if k != "under"}
        by.setdefault((figure.name, title("", place)), {})[figure.under] = figure
    head = f"{'':<46} " + "  ".join(f"{name:>20}" for name in columns)
    texts = [head] if len(columns) > 1 else []
    for (name, where), cells in by.items():
        values = "  ".join(f"{cell(cells[c]) if c in cells else '':>20}" for c in columns)
        texts.append(f"{f'{name} {where}'.strip():<46} {values}".rstrip())
    return texts


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
    ('50.0 [40 to 61]', '7.0')
    """
    if figure is None:
        return "-"
    return figure.text() + (f" [{figure.ends}]" if figure.ends else "")


def _published(
    runs: Sequence[JsonDict], name: str, where: Mapping[str, str]
) -> Iterator[tuple[str, float, float | None, str]]:
    keys: set[Any] = set()
    for run in runs:
        for row in run.get("published", []):
            key = (row["method"], row["value"], row["source"])
            other = row["protocol"] not in (None, run["protocol"])
            if other or row["figure"] != name or row["where"] != dict(where):
                continue
            if key not in keys:
                keys.add(key)
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
