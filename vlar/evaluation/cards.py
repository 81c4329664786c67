"""The protocol file (a card): data, labels, settings and hashes of a figure.

A card is a TOML file::

    name = "ucf101"
    protocol = ["zero-shot", "retrieval"]        one name or several, over shared features
    model = "lite"                               default of --model

    [data]
    layout = "ucf101"                            see vlar.evaluation.datasets
    folder = "UCF101"                            below --data; default: --data itself
    subset = "test"                              default: test, else val
    labels = "labels.txt"                        only these; a list, or a file next to the card

    [[splits]]                                   each replaces some keys of [data]
    options = {split = 1}

    [source]                                     as [data]; where a protocol fits on other data
    [expected]                                   labels, train, val, test: counts that must hold
    [hashes]                                     annotation file to SHA-256, in the order of splits
    [settings]                                   of the protocol
    [[published]]                                method, figure, value, spread, source

A suite is a TOML file of several cards, run on one model over shared features, and a table::

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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vlar import registry
from vlar.errors import ProtocolError, explained
from vlar.evaluation.datasets.base import text_hash
from vlar.evaluation.datasets.lists import label_names
from vlar.evaluation.report import cell
from vlar.files.reading import MB, read_file
from vlar.metrics.figures import Figure
from vlar.toml import read_toml
from vlar.types import JsonDict

_MOST_TEXT = 16 * MB  # of a protocol file or a page
_STRICT = ConfigDict(extra="forbid")
_Model = TypeVar("_Model", bound=BaseModel)


class DataCard(BaseModel):
    """Clip selection of a card; see the module.

    Attributes:
        layout: Registered name; None finds it by the files.
        options: Options of the layout.
        folder: Below the user's folder.
        subset: Name of the subset; None is ``test``, or ``val`` where there is none.
        labels: Only these labels: a list, or a file (as given in the card).
    """

    model_config = _STRICT
    layout: str | None = None
    options: dict[str, Any] = {}
    folder: str = ""
    subset: str | None = None
    labels: list[str] | str | None = None


class Published(BaseModel):
    """A figure that someone reported.

    Attributes:
        method: Whose.
        figure: Name of the figure in a run: ``top1``, ``hm``.
        value: As the runs give it: shares of 1.
        spread: Standard deviation over splits or seeds, as reported; None where it is not.
        source: Where it stands.
        where: Which row of the run, for example ``{"shots": "2"}``; empty for its mean.
        protocol: Whose figure it is, in a card of several protocols.
    """

    model_config = _STRICT
    method: str
    figure: str
    value: float
    spread: float | None = None
    source: str
    where: dict[str, str] = {}
    protocol: str | None = None


class Card(BaseModel):
    """One protocol file; see the module.

    Attributes:
        name: Name of the card.
        protocol: Registered names.
        model: Spec of the model; None leaves it to the user.
        needs_model: What ``--model`` must name, where the card stands for weights of the user's.
        fingerprint: Fingerprint of the model's encoder; another one is refused.
        templates: Prompt set; None for the model's own.
        descriptions: See ``Model.classify``.
        data: The clips.
        splits: Replacements in ``data``, one a split; none means one split.
        source: Clips of another data set, which a model is fitted to.
        expected: Counts that must hold: ``labels``, ``train``, ``val``, ``test``.
        hashes: SHA-256 of annotation files, and of label files of the card.
        settings: Settings of the protocol.
        published: Figures to stand next to those of a run.
        about: Facts for the reader: domain, view, licence, how to obtain, how the run differs.
    """

    model_config = _STRICT
    name: str
    protocol: list[str] | str
    model: str | None = None
    needs_model: str | None = None
    fingerprint: str | None = None
    templates: str | None = None
    descriptions: str = "auto"
    data: DataCard = DataCard()
    splits: list[dict[str, Any]] = []
    source: DataCard | None = None
    expected: dict[str, int] = {}
    hashes: dict[str, str] = {}
    settings: dict[str, Any] = {}
    published: list[Published] = []
    about: dict[str, Any] = {}

    @property
    def protocols(self) -> list[str]:
        """The names, one or several."""
        return [self.protocol] if isinstance(self.protocol, str) else self.protocol

    def parts(self) -> list[DataCard]:
        """``data`` of each split.

        Raises:
            ProtocolError: a split replaces a key that does not exist.
        """
        plain = self.data.model_dump()
        where = f"card {self.name!r}, splits"
        return [_valid(DataCard, {**plain, **split}, where) for split in self.splits or [{}]]


@dataclass(frozen=True)
class LoadedCard:
    """A card with its file; None for a card made from a protocol's name."""

    card: Card
    file: Path | None = None

    @property
    def sha256(self) -> str | None:
        """Hash of the card's lines; None without a file."""
        return text_hash(self.file) if self.file else None

    def labels(self, given: list[str] | str | None) -> tuple[str, ...] | None:
        """The labels of a list or of a file next to the card; a changed file is refused.

        Raises:
            ProtocolError: a file's hash is not the card's.
            DatasetError: it cannot be read.
        """
        if given is None or isinstance(given, list):
            return None if given is None else tuple(given)
        file = self.path(given)
        self.check_hash(given, text_hash(file))
        return label_names(file)

    def path(self, name: str) -> Path:
        """A file that the card names, relative to the card."""
        file = Path(name).expanduser()
        return self.file.parent / file if self.file and not file.is_absolute() else file

    def check_hash(self, name: str, sha256: str) -> None:
        """Refuse a file whose hash differs from that of the card.

        Raises:
            ProtocolError: it has changed.
        """
        expected = self.card.hashes.get(name)
        if expected is not None and expected != sha256:
            raise ProtocolError(
                f"{name} is not the list that card {self.card.name!r} stands for: its SHA-256 is "
                f"{sha256[:12]}.., not {expected[:12]}..; restore the official file"
            )


def read_card(path: str | Path) -> LoadedCard:
    """Read and check a protocol file.

    Raises:
        ProtocolError: it cannot be read or a value is wrong; the message names key and value.
        UnknownNameError: a protocol does not exist.
    """
    file = Path(path).expanduser()
    try:
        with explained(ProtocolError, f"{file}: cannot be read", "give a TOML file"):
            values = read_toml(read_file(file, _MOST_TEXT).decode("utf-8"))
    except ValueError as error:
        raise ProtocolError(f"{file}: not readable as TOML ({error})") from error
    return LoadedCard(make_card(values, str(file)), file.absolute())


def make_card(values: Mapping[str, Any], where: str) -> Card:
    """A checked card from its values.

    Raises:
        ProtocolError: a key or a value is wrong.
        UnknownNameError: a protocol does not exist.
    """
    card = _valid(Card, values, where)
    protocols = registry.names("protocol")
    for name in card.protocols:
        if name not in protocols:
            raise registry.unknown_name("protocol", name, protocols)
    return card


def _valid(model: type[_Model], values: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ProtocolError(f"{where}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation in one sentence."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"key {key!r} is missing; add it"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}; see docs/protocols.md"
    return f"key {key!r} is {fault['input']!r}: {fault['msg'].lower()}; correct it"


_NAMED = 5


class SuiteRow(BaseModel):
    """One row of a suite's table; see the module."""

    model_config = _STRICT
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
        name: Name of the suite; of the card, for a file of one card.
        cards: The cards, in order.
        controls: One a card: whether its figures are taken under the controls too.
        rows: Rows of the table; none for a file of one card.
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
        values = read_toml(read_file(file, _MOST_TEXT).decode("utf-8"))
    except (OSError, ValueError):
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
    rows = [
        _valid(SuiteRow, row, f"{file}, row {n}") for n, row in enumerate(values.get("rows", []), 1)
    ]
    suite = Suite(str(values.get("name", file.stem)), tuple(cards), tuple(controls), tuple(rows))
    _check(suite, file)
    return suite


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
    figures = [Figure.restore(row) for row in run["figures"]]
    text = cell(_find(figures, row, row.figure, row.where))
    if row.control is None and row.control_where is None:
        return text
    where = row.where if row.control_where is None else row.control_where
    return f"{text} / {_find(figures, row, row.control or row.figure, where).text()}"


def _find(figures: Sequence[Figure], row: SuiteRow, name: str, where: Mapping[str, str]) -> Figure:
    for figure in figures:
        if figure.name == name and dict(figure.where) == dict(where):
            return figure
    near = sorted({str(dict(f.where)) for f in figures if f.name == name})[:_NAMED]
    raise ProtocolError(
        f"row {row.name!r}: no figure {name!r} of {dict(where)}; there are "
        f"{', '.join(near) or 'none'}"
    )


def _cost(runs: Sequence[JsonDict]) -> Iterator[tuple[str, str]]:
    """Cost of the runs of one model."""
    costs = [run["cost"] for run in runs]
    encoded = [cost for cost in costs if cost["clips_encoded"]]
    n = sum(cost["clips_encoded"] for cost in encoded)
    spent = sum(cost["latency_cpu_s"] * cost["clips_encoded"] for cost in encoded)
    yield "CPU time of a clip, ms", f"{1000 * spent / n:.0f}" if n else "cached"
    if peaks := [cost["peak_bytes"] for cost in costs if cost["peak_bytes"]]:
        yield "memory at most, MB", f"{max(peaks) / 1e6:.0f}"


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
    with explained(ProtocolError, f"{file}: cannot be written"):
        file.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


def read_page(file: Path, suite: str) -> tuple[str, str, str]:
    """Text before a suite's markers, between them, and after them.

    Raises:
        ProtocolError: the page cannot be read, or has no such markers.
    """
    begin, end = _markers(suite)
    try:
        page = read_file(file, _MOST_TEXT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{file}: cannot be read ({error}); give a text page") from error
    before, first, page_end = page.partition(begin)
    old, last, after = page_end.partition(end)
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
