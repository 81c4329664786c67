"""``csv``: one table of clips. Columns that it does not know are left alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    Dataset,
    Layout,
    Subset,
    lines_of,
    number_of,
    text_hash,
)
from vlar.evaluation.datasets.halves import OPTIONS, arranged
from vlar.fewshot.support import SEPARATOR, SupportItem
from vlar.registry import register
from vlar.text.labels import PARTS
from vlar.types import Window

_NAMES = ("clips.csv", "labels.csv", "manifest.csv")
_SUBSETS = ("split", "subset")


@register("dataset", "csv")
class Table(Layout):
    """``path,label`` and, where there are any, ``labels,verb,object,start_s,end_s,group,split``.

    ``labels`` holds several labels of a clip, separated by ``|``. ``split`` names the subset of a
    row; without it all rows are ``test``. Paths count from the file's folder. Options: ``file`` (a
    name in the folder), ``label`` (another column for labels), ``where`` (column to value: only
    these rows), ``without`` (column to value: not these), and those of
    ``vlar.evaluation.datasets.halves``.
    """

    options = ("file", "label", "where", "without", *OPTIONS)
    annotations = ("", "annotations")

    def claims(self, root: Path) -> bool:
        """See ``Layout``."""
        file = root if root.is_file() else self.annotation(root, *_NAMES)
        if file is None or file.suffix.lower() != ".csv":
            return False
        columns = _header(file)
        return "path" in columns and bool({"label", "labels", "verb"} & set(columns))

    def read(self, root: Path, options: Mapping[str, Any]) -> Dataset:
        """See ``Layout``."""
        names = [str(options["file"])] if "file" in options else list(_NAMES)
        file = root if root.is_file() else self.needed(root, *names)
        column, where = str(options.get("label", "label")), dict(options.get("where", {}))
        without = dict(options.get("without", {}))
        there: dict[str, list[SupportItem]] = {}
        lost: dict[str, list[SupportItem]] = {}
        for number, row in rows_of(file, ("path", *where, *without)):
            if any(row[name] != str(value) for name, value in where.items()):
                continue
            if any(row[name] == str(value) for name, value in without.items()):
                continue
            subset = next((row[name] for name in _SUBSETS if row.get(name)), TEST)
            item = _item(file, number, row, column)
            there.setdefault(subset, [])
            (there if item.path.exists() else lost).setdefault(subset, []).append(item)
        if not there:
            chosen = f" with {where}" if where else ""
            raise DatasetError(f"{file}: no row{chosen}; the table lists no clip")
        every = [item for rows in (there, lost) for items in rows.values() for item in items]
        labels = sorted({label for item in every for label in item.labels})
        subsets = {
            name: Subset(tuple(items), tuple(lost.get(name, ()))) for name, items in there.items()
        }
        files = {file.name: text_hash(file)}
        return arranged(Dataset("csv", file.parent, tuple(labels), subsets, files), options)


def rows_of(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header: line, and cells by column in lower case.

    Raises:
        DatasetError: it cannot be read, has no column ``needed``, or a row has another length.
    """
    reader = csv.reader(io.StringIO("\n".join(lines_of(file)), newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in needed if name not in header]
    if missing:
        raise DatasetError(
            f"{file}, line 1: no column {missing[0]!r} (there are {', '.join(header) or 'none'})"
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DatasetError(
                f"{file}, line {reader.line_num}: {len(cells)} fields for {len(header)} columns; "
                "quote fields that hold commas"
            )
        yield (
            reader.line_num,
            {name: cell.strip() for name, cell in zip(header, cells, strict=True)},
        )


def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        return [name.strip().lower() for name in stream.readline().split(",")]


def _item(file: Path, line: int, row: dict[str, str], column: str) -> SupportItem:
    parts = {name: row[name] for name in PARTS if row.get(name)}
    if row.get("labels"):
        labels = [label.strip() for label in row["labels"].split(SEPARATOR)]
    else:
        labels = [row.get(column.lower()) or " ".join(parts.values())]
    if not all(labels):
        raise DatasetError(f"{file}, line {line}: no label in column {column!r}; fill it in")
    path = file.parent / row["path"]
    window = None
    if row.get("start_s") and row.get("end_s"):
        start, end = (number_of(row[name], file, line, name) for name in ("start_s", "end_s"))
        if end <= start:
            raise DatasetError(f"{file}, line {line}: end_s {end:g} is not after start_s {start:g}")
        window = Window(start, end)
    kept = tuple(dict.fromkeys(labels))
    return SupportItem(path, window, kept, row.get("group") or str(path), parts)
