"""Cells of a support set's CSV file: several labels, a span, a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vlar.errors import SupportError, UsageError
from vlar.text.referring import parse
from vlar.types import Window

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
    given = cells.get("start_s", ""), cells.get("end_s", "")
    if not any(given):
        return None
    times: list[float] = []
    for name, cell in zip(("start_s", "end_s"), given, strict=True):
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
