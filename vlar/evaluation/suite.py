"""A suite: several cards in one file, run on one model over shared features, and one table.

A suite is a TOML file::

    name = "mini"

    [[cards]]                                    as a protocol file
    controls = true                              one frame, shuffled and reversed frames too

    [[rows]]                                     of the table, in its order
    name = "zero-shot, 21 labels: top-1"
    card = "jhmdb"
    protocol = "zero-shot"
    figure = "top1"
    where = {}                                   which of the figures of that name
    control = "chance"                           another figure next to it, or
    control_where = {under = "shuffle/5"}        the same figure of another place
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vlar.errors import ProtocolError
from vlar.evaluation.cards import LoadedCard, first_fault, make_card, read_card
from vlar.evaluation.scores import Figure
from vlar.types import JsonDict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_NAMED = 5


class SuiteRow(BaseModel):
    """One row of a suite's table; see the module."""

    model_config = ConfigDict(extra="forbid")
    name: str
    card: str
    protocol: str
    figure: str
    where: dict[str, str] = {}
    control: str | None = None
    control_where: dict[str, str] | None = None


@dataclass(frozen=True)
class Suite:
    """Cards that belong together.

    Attributes:
        name: Of the suite; of the card, for a file of one card.
        cards: The cards, in order.
        controls: One a card: whether its figures are taken under the controls too.
        rows: Of the table; none for a file of one card.
    """

    name: str
    cards: tuple[LoadedCard, ...]
    controls: tuple[bool, ...]
    rows: tuple[SuiteRow, ...] = ()


def read_suite(path: str | Path) -> Suite:
    """Read a suite, or a protocol file as a suite of one card.

    Raises:
        ProtocolError: it cannot be read, or a value is wrong; the message names key and value.
    """
    file = Path(path).expanduser()
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        values = {}  # ``read_card`` names what is wrong
    if "cards" not in values:
        card = read_card(file)
        return Suite(card.card.name, (card,), (True,))
    cards: list[LoadedCard] = []
    controls: list[bool] = []
    for number, row in enumerate(values["cards"], 1):
        controls.append(bool(row.pop("controls", True)))
        card = make_card(row, f"{file}, card {number}")
        cards.append(LoadedCard(card, file.absolute()))
    rows = [_row(row, f"{file}, row {n}") for n, row in enumerate(values.get("rows", []), 1)]
    suite = Suite(str(values.get("name", file.stem)), tuple(cards), tuple(controls), tuple(rows))
    _check(suite, file)
    return suite


def _row(values: Mapping[str, Any], where: str) -> SuiteRow:
    try:
        return SuiteRow.model_validate(dict(values))
    except ValidationError as error:
        raise ProtocolError(f"{where}: {first_fault(error)}") from error


def _check(suite: Suite, file: Path) -> None:
    names = [card.card.name for card in suite.cards]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ProtocolError(f"{file}: two cards are called {twice[0]!r}; give each its own name")
    for row in suite.rows:
        if row.card not in names:
            raise ProtocolError(
                f"{file}: row {row.name!r} asks for a card {row.card!r}, which does not exist; "
                f"there are {', '.join(names)}"
            )
        protocols = suite.cards[names.index(row.card)].card.protocols
        if row.protocol not in protocols:
            raise ProtocolError(
                f"{file}: row {row.name!r} asks for protocol {row.protocol!r}; card {row.card!r} "
                f"has {', '.join(protocols)}"
            )


def table_rows(suite: Suite, runs: Sequence[JsonDict]) -> list[tuple[str, str]]:
    """Name and cell of each row of a suite's table, then what the runs cost.

    A cell is ``value [low to high] / control``.

    Raises:
        ProtocolError: a row asks for a figure that no run has.
    """
    by = {(run["card"], run["protocol"]): run for run in runs}
    return [*((row.name, _cell(row, by)) for row in suite.rows), *_cost(runs)]


def _cell(row: SuiteRow, by: Mapping[tuple[str, str], JsonDict]) -> str:
    run = by.get((row.card, row.protocol))
    if run is None:
        return "not run"
    figures = [Figure.restore(each) for each in run["figures"]]
    own = _find(figures, row, row.figure, row.where)
    text = _shown(own)
    if own.low is not None and own.high is not None:
        text += f" [{100 * own.low:.0f} to {100 * own.high:.0f}]"
    if row.control is None and row.control_where is None:
        return text
    where = row.where if row.control_where is None else row.control_where
    return f"{text} / {_shown(_find(figures, row, row.control or row.figure, where))}"


def _find(figures: Sequence[Figure], row: SuiteRow, name: str, where: Mapping[str, str]) -> Figure:
    for figure in figures:
        if figure.name == name and dict(figure.where) == dict(where):
            return figure
    near = sorted({str(dict(f.where)) for f in figures if f.name == name})[:_NAMED]
    raise ProtocolError(
        f"row {row.name!r}: no figure {name!r} of {dict(where)}; there are "
        f"{', '.join(near) or 'none'}"
    )


def _shown(figure: Figure) -> str:
    """A share in percent; a dash where the figure is not defined."""
    return "-" if figure.value != figure.value else f"{100 * figure.value:.1f}"


def _cost(runs: Sequence[JsonDict]) -> Iterator[tuple[str, str]]:
    """Cost of the runs of one model."""
    costs = [run["cost"] for run in runs]
    encoded = [cost for cost in costs if cost["clips_encoded"]]
    n = sum(cost["clips_encoded"] for cost in encoded)
    spent = sum(cost["latency_cpu_s"] * cost["clips_encoded"] for cost in encoded)
    yield "CPU time of a clip, ms", f"{1000 * spent / n:.0f}" if n else "cached"
    yield "memory at most, MB", f"{max(cost['peak_bytes'] for cost in costs) / 1e6:.0f}"


def write_table(file: Path, suite: str, model: str, rows: Sequence[tuple[str, str]]) -> None:
    """Put a model's column into the table between the markers of a page.

    The page holds ``<!-- SUITE -->`` and ``<!-- /SUITE -->``. Columns of other models stay where
    they have the same rows, and go where they do not.

    Raises:
        ProtocolError: the page cannot be read or written, or has no such markers.
    """
    before, old, after = read_page(file, suite)
    columns = {**_columns(old, [name for name, _ in rows]), f"`{model}`": dict(rows)}
    lines = [_line([suite, *columns]), f"|{'|'.join(['---'] * (1 + len(columns)))}|"]
    lines += [_line([name, *(cells[name] for cells in columns.values())]) for name, _ in rows]
    table = "\n".join(lines)
    begin, end = _markers(suite)
    try:
        file.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")
    except OSError as error:
        raise ProtocolError(f"{file}: cannot be written ({error.strerror})") from error


def read_page(file: Path, suite: str) -> tuple[str, str, str]:
    """Text before a suite's markers, between them, and after them.

    Raises:
        ProtocolError: the page cannot be read, or has no such markers.
    """
    begin, end = _markers(suite)
    try:
        page = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{file}: cannot be read ({error}); give a text page") from error
    before, first, rest = page.partition(begin)
    old, last, after = rest.partition(end)
    if not first or not last:
        raise ProtocolError(f"{file}: no {begin} and {end}; put them where the table belongs")
    return before, old, after


def _markers(suite: str) -> tuple[str, str]:
    return f"<!-- {suite} -->", f"<!-- /{suite} -->"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _columns(table: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The columns of a table with exactly these rows; none of another table."""
    lines = [line.strip().strip("|") for line in table.strip().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    if len(rows) < 3 or [row[0] for row in rows[2:]] != list(names):
        return {}
    if any(len(row) != len(rows[0]) for row in rows):
        return {}
    return {
        heading: {row[0]: row[column] for row in rows[2:]}
        for column, heading in enumerate(rows[0][1:], 1)
    }
