"""A table of recordings by sensor, as bundle files and a support set of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.files.reading import MB, parse_csv, read_file
from vlar.media.bundle import ENDING, LONGEST_S, PART, BundlePart, write_bundle
from vlar.media.lookup import reader
from vlar.registry import unknown_name
from vlar.types import Failure

_PATH, _OFFSET = "path.", "offset."
_MOST = 256 * MB
_UNEVEN = 0.1  # of the longest recording


@dataclass(frozen=True)
class MadeBundles:
    """Result of ``write_bundles``.

    Attributes:
        table: The CSV ``path,...`` of the bundles.
        bundles: Number of files.
        parts: Number of recordings by sensor; 0 for one that no row has.
        failed: Rows that gave none.
        uneven: Name of the first bundle whose sensors differ in length by more than a tenth, and
            how many do; empty and 0 where none does, or where all are lined up by share.
    """

    table: Path
    bundles: int
    parts: dict[str, int]
    failed: tuple[Failure, ...]
    uneven: tuple[str, int] = ("", 0)


def write_bundles(table: Path, folder: Path, *, by_share: bool = False) -> MadeBundles:
    """Write a bundle file for each row of a table, and the table of these files.

    Args:
        table: CSV with a column ``path.SENSOR`` for each sensor, the one whose clock counts first;
            relative paths count from it. ``offset.SENSOR`` has seconds; other columns are kept.
        folder: Is made; it gets ``NAME.bundle.json`` and ``rows.csv``.
        by_share: Whether sensors are lined up by their share of the take.

    Raises:
        UsageError: the table cannot be read, or has no usable columns.
    """
    header, rows = _read(table)
    sensors = [name.removeprefix(_PATH) for name in header if name.startswith(_PATH)]
    named = [*(_PATH + name for name in sensors), *(_OFFSET + name for name in sensors)]
    other_columns = [name for name in header if name not in named]
    counts = dict.fromkeys(sensors, 0)
    uneven: list[str] = []
    failed: list[Failure] = []
    rows_out: list[list[str]] = []
    names: set[str] = set()
    folder.mkdir(parents=True, exist_ok=True)
    for line, row in enumerate(rows, start=2):
        try:
            parts = _parts(table.parent, row, sensors, by_share)
        except ValueError as error:
            failed.append(Failure(table, PART, f"{table}, line {line}: {error}"))
            continue
        stem = next(iter(parts.values())).path.stem
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.add(name)
        path = write_bundle(folder / f"{name}{ENDING}", parts)
        rows_out.append([path.name, *(row.get(column, "") for column in other_columns)])
        for sensor in parts:
            counts[sensor] += 1
        if not by_share and (lengths := _uneven(parts)):
            uneven.append(f"{path.name}: {lengths}")
    target = folder / "rows.csv"
    with target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", *other_columns], *rows_out])
    first = next(iter(uneven), "")
    return MadeBundles(target, len(rows_out), counts, tuple(failed), (first, len(uneven)))


def _uneven(parts: Mapping[str, BundlePart]) -> str:
    """Lengths of recordings that differ by more than a tenth of the longest; empty if none does."""
    lengths: dict[str, float] = {}
    for sensor, part in parts.items():
        with suppress(VlarError):  # a file that cannot be read is named where it is used
            lengths[sensor] = reader(sensor).probe(part.path).duration_s
    if len(lengths) < 2 or min(lengths.values()) >= (1 - _UNEVEN) * max(lengths.values()):
        return ""
    return ", ".join(f"{sensor} {length_s:.2f} s" for sensor, length_s in lengths.items())


def sensor_table(table: Path) -> list[dict[str, BundlePart]]:
    """The recordings of each row of a table by sensor, as for ``write_bundles``.

    Raises:
        UsageError: the table cannot be read, has no usable columns, or a row names no recording.
    """
    header, rows = _read(table)
    sensors = [name.removeprefix(_PATH) for name in header if name.startswith(_PATH)]
    parts: list[dict[str, BundlePart]] = []
    for line, row in enumerate(rows, start=2):
        try:
            parts.append(_parts(table.parent, row, sensors, False))
        except ValueError as error:
            raise UsageError(f"{table}, line {line}: {error}") from error
    return parts


def _read(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a table of recordings by sensor."""
    try:
        rows = parse_csv(read_file(table, _MOST).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{table}: cannot be read as a table: {reason}") from error
    header = [name.lower() for name in rows[0]] if rows else []
    sensors = [name.removeprefix(_PATH) for name in header if name.startswith(_PATH)]
    names = [name for name in registry.names("reader") if name != "bundle"]
    wrong = next((name for name in sensors if name not in names), None)
    if wrong is not None:
        raise unknown_name("sensor", wrong, names)
    if not sensors or "path" in header or len(set(header)) < len(header):
        raise UsageError(
            f"{table}: its columns are {', '.join(header)[:80] or 'none'}; give each sensor one "
            "column, such as path.skeleton,path.imu,offset.imu,label"
        )
    return header, [dict(zip(header, cells, strict=False)) for cells in rows[1:]]


def _parts(
    home: Path, row: Mapping[str, str], sensors: list[str], by_share: bool
) -> dict[str, BundlePart]:
    """The parts of a row.

    Raises:
        ValueError: it has none, or an offset is not a number of seconds.
    """
    parts: dict[str, BundlePart] = {}
    for sensor in sensors:
        if not (text := row.get(_PATH + sensor, "")):
            continue
        offset = row.get(_OFFSET + sensor, "")
        try:
            offset_s = float(offset or 0)
        except ValueError:
            offset_s = math.nan
        if not abs(offset_s) < LONGEST_S:
            raise ValueError(f"offset.{sensor} is {offset[:40]!r}, not seconds")
        shared = by_share and bool(parts)
        if shared and offset_s:
            raise ValueError(f"offset.{sensor} is given, and --by-share needs none")
        parts[sensor] = BundlePart(home / text, offset_s, shared)
    if not parts:
        raise ValueError("no sensor has a path; remove the row")
    return parts
