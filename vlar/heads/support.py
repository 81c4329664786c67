"""Support sets on disk: a folder with one folder a label, or a CSV file.

The CSV's header names its columns, in any order:

* ``path`` and ``label``: the recording and what it shows;
* ``labels`` instead of ``label``: several labels of one clip, separated by ``|``;
* ``verb`` and ``object``, with or without ``label``: labels in parts. Without ``label`` the label
  is the parts in the order of the columns, such as ``open door``;
* ``start_s`` and ``end_s``: the span that shows the label, in seconds; both may be empty;
* ``group``: examples that are held out together, such as those of one person;
* ``subject``, ``scene``, ``domain``, ``site``, ``client`` and ``text``: who is seen, where, of
  which data set or hospital, on whose machine, in which words; for the methods that read them. A
  column ``domain``, ``site`` or ``client`` has no empty cell. A method may declare further columns;
* ``who``: the person that the label is about, such as ``the person on the left``; empty for the
  whole picture;
* ``person``: the number of that person, counted from the left; a training of ``refer`` learns from
  it. Empty where it is unknown.

A file of annotations of any other format (``vlar.segments``) has an example for each span.

Rows of one path stay examples of their own, whatever labels they have.
"""

from __future__ import annotations

import csv
import gc
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vlar.errors import SupportError, UsageError, explained
from vlar.files.opening import open_input, special_kind
from vlar.files.reading import MB, read_file
from vlar.formatting import fault
from vlar.language.clean import MOST_CHARACTERS
from vlar.language.labels import PARTS
from vlar.language.referring import parse
from vlar.media.lookup import reader
from vlar.segments import read
from vlar.segments.files import is_annotation
from vlar.types import Window


def by_person(
    examples: Sequence[tuple[Path, str]], person: Callable[[Path], str | None]
) -> list[str]:
    """Group of each example: its person, where all names give it and no group was given.

    A person resembles themselves, so examples of one person that are held out alone do not
    represent other people.

    Args:
        examples: Path and group of each example; the path as text where no group was given.
        person: Who was recorded in a file (``vlar.media.base.Reader.person``).
    """
    groups = [group for _, group in examples]
    if any(group != str(path) for path, group in examples):
        return groups
    people = [who for path, _ in examples if (who := person(path)) is not None]
    return people if len(people) == len(groups) and len(set(people)) > 1 else groups


_log = logging.getLogger("vlar")
_JOINED = re.compile(r"\w[;|]\w")  # of a cell that may be meant as several labels
SEPARATOR = "|"  # between the labels of one clip; labels hold commas and semicolons
_MOST_PEOPLE = 10_000


def who_of(file: Path, line: int, cells: Mapping[str, str]) -> tuple[str, int | None]:
    """The person that a row is about, as a phrase and as a number; empty and None for nobody.

    Raises:
        SupportError: the phrase names nobody, or the number is not one.
    """
    who, number = cells.get("who", ""), cells.get("person", "")
    if who:
        try:
            parse(who)
        except UsageError as error:
            raise SupportError(f"{file}, line {line}, column 'who': {error.message}") from error
    if number and not (number.isdigit() and 0 < int(number) < _MOST_PEOPLE):
        raise SupportError(
            f"{file}, line {line}, column 'person': {number!r} is not a number from 1; write the "
            "person's place from the left, or leave it empty"
        )
    return who, int(number) if number else None


def several_labels(file: Path, line: int, cell: str) -> tuple[str, ...]:
    """The labels of a cell.

    Raises:
        SupportError: one is empty, or comes twice.
    """
    labels = [label.strip() for label in cell.split(SEPARATOR)]
    if not all(labels) or len(set(labels)) < len(labels):
        raise SupportError(
            f"{file}, line {line}, column 'labels': {cell!r} holds an empty label or one twice; "
            f"write each once, such as 'walk{SEPARATOR}wave'"
        )
    return tuple(labels)


def window_of(file: Path, line: int, cells: dict[str, str]) -> Window | None:
    """The span of a row; None where both cells are empty.

    Raises:
        SupportError: a time is not a number of seconds, or the span ends before it begins.
    """
    texts = cells.get("start_s", ""), cells.get("end_s", "")
    if not any(texts):
        return None
    times: list[float] = []
    for name, cell in zip(("start_s", "end_s"), texts, strict=True):
        try:
            time = float(cell)
        except ValueError:
            time = float("nan")
        if not 0 <= time < float("inf"):
            raise SupportError(
                f"{file}, line {line}, column {name!r}: {cell!r} is not a time in seconds; write a "
                "number such as 2.5, or leave start_s and end_s both empty"
            )
        times.append(time)
    if times[1] <= times[0]:
        raise SupportError(
            f"{file}, line {line}, column 'end_s': {times[1]:g} is not after start_s {times[0]:g}"
        )
    return Window(times[0], times[1])


FACTS = ("subject", "scene", "domain", "site", "client", "text")  # what else may be known
COLUMNS = ("path", "label", "labels", *PARTS, "start_s", "end_s", "group", "who", "person", *FACTS)
_FILLED = ("path", "label", "labels", *PARTS, "domain", "site", "client")  # no cell is empty
_UNLABELLED = ("path", "start_s", "end_s", "group", *FACTS)
_MOST_BYTES = 512 * MB
_LONGEST_HEADER = 10_000


WINDOW = "window_s"  # a fact of an example that is a part of a recording


@dataclass(frozen=True)
class SupportItem:
    """One example.

    Attributes:
        path: The recording.
        window: The span that shows the label; None for the whole recording.
        labels: Its content, as the user spells it: one label or several, each once.
        group: Examples of one group are held out together: the recording, unless the CSV has a
            column ``group`` (a person, a session).
        parts: Value of each part of the label, such as ``{"verb": "open", "object": "door"}``;
            empty for plain labels.
        who: The person that the label is about, as a phrase; empty for the whole picture.
        person: Number of that person from the left, from 1; None where it is not known.
        facts: Further cells of its row by column: ``subject``, ``scene``, ``domain``, ...
    """

    path: Path
    window: Window | None
    labels: tuple[str, ...]
    group: str
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    who: str = ""
    person: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def told(self) -> dict[str, str]:
        """The facts, and the window as ``WINDOW`` where the example is a part of a recording."""
        return {**self.facts, **({WINDOW: str(self.window)} if self.window else {})}

    @property
    def label(self) -> str:
        """The single label.

        Raises:
            SupportError: the example shows several.
        """
        if len(self.labels) != 1:
            raise SupportError(
                f"{self.path} shows {len(self.labels)} labels ({', '.join(self.labels)}) where one "
                "is needed; give each clip one label"
            )
        return self.labels[0]


@dataclass(frozen=True)
class Support:
    """A support set: at least two labels, each with at least one example.

    Attributes:
        labels: Sorted, each once.
        items: The examples, in the order of the source.
        source: The folder or CSV file.
    """

    labels: tuple[str, ...]
    items: tuple[SupportItem, ...]
    source: Path


def read_support(
    path: str | Path,
    modality: str = "video",
    *,
    least_labels: int = 2,
    facts: Sequence[str] = (),
) -> Support:
    """Read a support set.

    A folder holds one folder a label with videos (or folders of numbered frames) at any depth. A
    CSV file has the header ``path,label`` and further columns (see the module's documentation);
    relative paths count from its folder. Recordings are not opened.

    Args:
        path: The folder or the CSV file.
        modality: Name of the reader whose recordings a folder is searched for.
        least_labels: Fewest labels with examples; learning takes 2, evaluating may do with 1.
        facts: Further columns of a CSV that become ``facts`` of its examples.

    Raises:
        SupportError: it does not exist, cannot be read, or has no usable set of examples; the
            message names file, line and column.
    """
    source = Path(path)
    if source.is_dir():
        items = _from_folder(source, reader(modality).find)
    elif source.exists():
        _check_kind(source)
        annotated = None if names_paths(source) else annotated_clips(source, modality)
        items = _from_csv(source, (*COLUMNS, *facts)) if annotated is None else annotated
    else:
        raise no_source(source)
    groups = by_person([(i.path, i.group) for i in items], reader(modality).person)
    items = [replace(item, group=group) for item, group in zip(items, groups, strict=True)]
    labels = tuple(sorted({label for item in items for label in item.labels}))
    _check_labels(source, labels)
    if not items:
        raise SupportError(f"{source}: no example in it; add videos for at least two labels")
    if len(labels) < least_labels:
        raise SupportError(
            f"{source}: only the label {labels[0]!r} has examples; give examples of at least two "
            "labels"
        )
    return Support(labels, tuple(items), source)


def no_source(source: Path) -> SupportError:
    """The error of a support set that is not there."""
    return SupportError(
        f"{source}: no such folder or file; give a folder with one folder of videos per label, "
        "or a CSV with the header path,label"
    )


def annotated_clips(file: Path, modality: str) -> list[SupportItem] | None:
    """An example for each span of a file of annotations; None where it is not one.

    Spans of one time are one example of several labels; points are left out.

    Args:
        file: The file.
        modality: Name of the reader of the recordings, which are named in it or lie next to it.

    Raises:
        SupportError: it cannot be read, or a recording is not there.
    """
    try:
        if not is_annotation(file):
            return None
        spans = [row for row in read(file) if row.label and not row.is_point]
    except UsageError as error:
        raise SupportError(error.message) from error
    paths = recordings_named(file, [row.recording for row in spans], modality)
    labels: dict[tuple[Path, Window], list[str]] = {}
    for row in spans:
        key = paths[row.recording], Window(row.start_s, row.end_s)
        if row.label not in labels.setdefault(key, []):
            labels[key].append(row.label)
    return [
        SupportItem(path, window, tuple(names), str(path))
        for (path, window), names in labels.items()
    ]


def recordings_named(file: Path, names: Sequence[str], modality: str) -> dict[str, Path]:
    """The recordings of the names in a file of annotations: paths from it, or files next to it.

    Raises:
        SupportError: one is not there, or two next to it have that name.
    """
    near: dict[str, list[Path]] = {}
    paths: dict[str, Path] = {}
    for name in dict.fromkeys(names):
        path = file.parent / name
        if not path.exists() or path.resolve() == file.resolve():
            if not near:
                for other in reader(modality).find([file.parent]):
                    near.setdefault(other.stem, []).append(other)
            candidates = near.get(Path(name).stem, near.get(Path(name).name, []))
            if len(candidates) != 1:
                raise SupportError(
                    f"{file}: {len(candidates) or 'no'} recordings next to it are called "
                    f"{name[:80]!r}; write the path of the recording, or put it there"
                )
            path = candidates[0]
        paths[name] = path
    return paths


def read_unlabelled(file: Path, facts: Sequence[str] = ()) -> list[SupportItem]:
    """Clips without labels of a CSV file with the column ``path`` and facts, such as ``domain``.

    Args:
        file: The CSV file.
        facts: Columns that are read next to ``FACTS``.

    Raises:
        SupportError: it cannot be read; the message names file, line and column.
    """
    return _from_csv(file, (*_UNLABELLED, *facts))


def further_columns(file: Path) -> list[str]:
    """Columns of a CSV file that support sets do not define; none of a folder."""
    return [name for name in _header(file) if name not in COLUMNS]


def cell(item: SupportItem, name: str) -> str | None:
    """The cell of an example in a column; None where its table has no such column."""
    values = {"label": SEPARATOR.join(item.labels), "group": item.group, "who": item.who}
    return item.facts.get(name, item.parts.get(name, values.get(name)))


def names_paths(file: Path) -> bool:
    """Return whether a file is a table of recordings: a CSV whose header has a column ``path``.

    Sensors may record to CSV files too.
    """
    return file.suffix.lower() == ".csv" and "path" in _header(file)


def _header(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        with open_input(file) as stream:
            header = stream.readline(_LONGEST_HEADER).decode("utf-8-sig", "replace")
    except OSError:  # reading the table states why
        return []
    return [name.strip().strip('"').lower() for name in header.split(",")]


def _check_kind(source: Path) -> None:
    kind = special_kind(source)
    if kind is not None:
        raise SupportError(f"{source}: it is {kind}, not a file; give a folder or a CSV file")


def _check_labels(source: Path, labels: Sequence[str]) -> None:
    for label in labels:
        if len(label) > MOST_CHARACTERS:
            raise SupportError(
                f"{source}: the label {label[:40]!r} ... has {len(label):,} characters; at most "
                f"{MOST_CHARACTERS:,} are read: shorten it"
            )
        if (wrong := fault(label)) is not None:
            raise SupportError(f"{source}: the label {label[:40]!r} holds {wrong}; remove it")


def _from_folder(
    folder: Path, find: Callable[[Sequence[str | Path]], list[Path]]
) -> list[SupportItem]:
    with explained(SupportError, f"{folder}: cannot be listed", "change its permissions"):
        entries = sorted(folder.iterdir())
    items: list[SupportItem] = []
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        videos = find([entry])
        if videos == [entry]:
            raise SupportError(
                f"{entry}: frames lie directly in the label's folder; put each video's frames in a "
                f"folder of its own, such as {entry.name}/clip1/0001.jpg"
            )
        if not videos:
            raise SupportError(
                f"{entry}: label {entry.name!r} has no example; put videos into it or remove it"
            )
        items += [SupportItem(video, None, (entry.name,), str(video)) for video in videos]
    loose = find([entry for entry in entries if entry.is_file()])
    if not items and loose:
        raise SupportError(
            f"{folder}: the videos lie directly in it; put them into one folder per label, such as "
            f"{folder.name}/wave/{loose[0].name}"
        )
    return items


@contextmanager
def _without_collections() -> Generator[None]:
    """Each collection looks at all rows made so far: half of the time of a long table."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@_without_collections()
def _from_csv(file: Path, columns: Sequence[str]) -> list[SupportItem]:
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(file, header, columns)
        table = _SupportTable(file, header)
        items: list[SupportItem] = []
        for row in reader:
            if any(cell and not cell.isspace() for cell in row):
                items.append(_item(table, reader.line_num, row))
    except csv.Error as error:
        raise SupportError(
            f"{file}, line {reader.line_num}: not readable as CSV ({error}); quote fields "
            "that hold commas or quotes"
        ) from error
    labels = (item.labels[0] for item in items if "label" in header)
    joined = next((label for label in labels if _JOINED.search(label)), None)
    if joined is not None:
        _log.warning(
            "%s: %r is one label; several labels of one clip need the column 'labels', with %s "
            "between them",
            *(file, joined, SEPARATOR),
        )
    return items


def _text(file: Path) -> str:
    try:
        return read_file(file, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SupportError(
            f"{file}: not a UTF-8 text file (byte {error.start}); give a folder with one folder of "
            "recordings per label, or a table saved as UTF-8 CSV"
        ) from error
    except OSError as error:
        raise SupportError(f"{file}: cannot be read ({error.strerror}); check it") from error


def _check_header(file: Path, header: list[str], columns: Sequence[str]) -> None:
    label_columns = [name for name in ("label", "labels") if name in header]
    if len(label_columns) > 1:
        raise SupportError(
            f"{file}, line 1: the columns 'label' and 'labels' exclude each other; keep 'label' "
            f"for one label a clip, or 'labels' for several separated by {SEPARATOR!r}"
        )
    labelled = "label" in columns
    needed = ["path"] if label_columns or "verb" in header or not labelled else ["path", "label"]
    missing = [name for name in needed if name not in header]
    if missing:
        raise SupportError(
            f"{file}, line 1: the header {','.join(header)!r} has no column {missing[0]!r}; begin "
            "the file with path,label or path,label,start_s,end_s"
        )
    strange = [name for name in header if name not in columns]
    if strange:
        raise SupportError(
            f"{file}, line 1: unknown column {strange[0]!r}; the columns are {', '.join(columns)}"
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise SupportError(f"{file}, line 1: column {twice[0]!r} comes twice; keep one")
    parts = [name for name in PARTS if name in header]
    if parts and "labels" in header:
        raise SupportError(
            f"{file}, line 1: the columns 'labels' and {parts[0]!r} exclude each other; labels in "
            "parts are one a clip"
        )


class _SupportTable:
    """Common state of the rows of a CSV file; a repeated path is made once."""

    def __init__(self, file: Path, header: list[str]) -> None:
        self.file, self.header = file, header
        self.parts = [name for name in header if name in PARTS]
        self.facts = [name for name in header if name in FACTS or name not in COLUMNS]
        self.filled = [name for name in _FILLED if name in header]
        self.timed = "start_s" in header or "end_s" in header
        self._folder = file.parent
        self._paths: dict[str, tuple[Path, str]] = {}

    def path(self, cell: str) -> tuple[Path, str]:
        """The recording, and its path as text."""
        if cell not in self._paths:
            path = self._folder / os.path.expanduser(cell)  # noqa: PTH111 - a third of the time
            self._paths[cell] = path, str(path)
        return self._paths[cell]


def _item(table: _SupportTable, line: int, row: list[str]) -> SupportItem:
    file, header = table.file, table.header
    if len(row) != len(header):
        raise SupportError(
            f"{file}, line {line}: {len(row)} fields for {len(header)} columns; quote fields that "
            "hold commas"
        )
    cells = dict(zip(header, map(str.strip, row), strict=True))
    for name in table.filled:
        if not cells[name]:
            raise SupportError(f"{file}, line {line}, column {name!r}: empty; fill it in")
    video, text = table.path(cells["path"])
    window = window_of(file, line, cells) if table.timed else None
    parts = {name: cells[name] for name in table.parts}
    if "labels" in cells:
        labels = several_labels(file, line, cells["labels"])
    else:
        shown = cells.get("label") or " ".join(parts.values())
        labels = (shown,) if shown else ()  # none in a table of clips without labels
    who, person = who_of(file, line, cells)
    facts = {name: cells[name] for name in table.facts}
    group = cells.get("group") or text
    return SupportItem(video, window, labels, group, parts, who, person, facts)
