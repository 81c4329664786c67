"""Answers join a support set: its CSV file grows, and clips that it holds already stay single."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from vlar.errors import SupportError, UsageError
from vlar.fewshot.support import read_support
from vlar.review.formats import Answer

_COLUMNS = ("path", "label", "start_s", "end_s")


def join_support(support: str | Path, answers: Sequence[Answer]) -> int:
    """Add answers to a support CSV with the columns path, label, start_s, end_s; it may be new.

    A clip that the file holds already gets the new label. The file is replaced as a whole, so an
    interruption leaves the old one.

    Returns:
        The number of clips that were added or changed.

    Raises:
        SupportError: the file is not a support set.
        UsageError: it has other columns, is a folder, or cannot be written.
    """
    file = Path(support)
    if file.is_dir() or file.suffix.lower() != ".csv":
        raise UsageError(f"{file}: answers join a CSV file; give one, such as support.csv")
    rows = _rows(file) if file.exists() else {}
    changed = 0
    for answer in answers:
        span, path = answer.window, os.path.abspath(answer.path)  # noqa: PTH100 - keeps links
        times = ("", "") if span is None else (repr(span.start_s), repr(span.end_s))
        written, label = rows.get((path, *times), (path, None))
        changed += label != answer.label
        rows[(path, *times)] = (written, answer.label)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            for (_, *times), (path, label) in rows.items():
                writer.writerow((path, label, *times))
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{file}: cannot be written ({error.strerror or error})") from error
    return changed


def _rows(file: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """Path as written and label, by place and times."""
    read_support(file, least_labels=1)  # refuses what is not one, with file, line and column
    with file.open(newline="", encoding="utf-8-sig") as stream:
        found = csv.DictReader(stream)
        others = set(found.fieldnames or ()) - set(_COLUMNS)
        if others:
            raise SupportError(
                f"{file}: answers cannot join a table with the column {sorted(others)[0]!r}; keep "
                f"{', '.join(_COLUMNS)}"
            )
        rows: dict[tuple[str, ...], tuple[str, str]] = {}
        for row in found:
            times = tuple(repr(float(row[n])) if row.get(n) else "" for n in ("start_s", "end_s"))
            rows[(_place(file, row["path"]), *times)] = (row["path"], row["label"])
        return rows


def _place(file: Path, path: str) -> str:
    """The absolute path of a cell; relative ones count from the file's folder."""
    return os.path.normpath(file.absolute().parent / path)
