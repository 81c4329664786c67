"""Arguments, tables of clips, halves and results: what every script shares."""

from __future__ import annotations

import argparse
import csv
import json
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HALVES = ("choose", "report")
_FOLDER = {"type": Path, "required": True}
_SHARED: Mapping[str, Any] = {
    "videos": {**_FOLDER, "help": "folder with manifest.csv"},
    "data": {**_FOLDER, "help": "folder of the data"},
    "shared": {**_FOLDER, "help": "folder with videos and clips"},
    "model": ("lite", "encoder spec"),
    "cache": (Path, "folder that keeps features"),
    "json": (Path, "file for the results"),
    "half": {"default": "report", "choices": HALVES},
}


def arguments(doc: str | None, *shared: str, **own: Any) -> Namespace:
    """The options of a script.

    Args:
        doc: Text of ``--help``.
        shared: Names of options that many scripts have; ``NAME!`` must be given, ``NAME+`` takes
            several values.
        own: Other options: a default, False for a flag, a type without a default, a list for any
            number of values, or a dictionary for ``add_argument`` (``positional`` for one without
            dashes); or a pair of these and the help.
    """
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=how)
    for asked in shared:
        name = asked.rstrip("!+")
        more = {"!": {"required": True}, "+": {"nargs": "+"}}.get(asked[len(name) :], {})
        _add(parser, name, {**_settings(_SHARED[name]), **more})
    for name, given in own.items():
        _add(parser, name, _settings(given))
    return parser.parse_args()


def some(default: Iterable[Any], **more: Any) -> dict[str, Any]:
    """An option of one value or more; the others are arguments of ``add_argument``."""
    return {"nargs": "+", "default": list(default), **more}


def _add(parser: argparse.ArgumentParser, name: str, settings: dict[str, Any]) -> None:
    flag = name if settings.pop("positional", False) else f"--{name.replace('_', '-')}"
    parser.add_argument(flag, **settings)


def _settings(given: Any) -> dict[str, Any]:
    """The arguments of ``add_argument``."""
    given, words = given if isinstance(given, tuple) else (given, None)
    if isinstance(given, dict):
        found = dict(given)
    elif given is False:
        found = {"action": "store_true"}
    elif isinstance(given, type):
        found = {"type": given}
    else:
        found = {"default": given} | ({"nargs": "*"} if isinstance(given, list) else {})
    one = found.get("default")
    one = (one or [None])[0] if isinstance(one, (list, tuple)) else one
    if one is not None and "type" not in found:
        found["type"] = Path if isinstance(one, Path) else type(one)
    return found | ({"help": words} if words else {})


def table(file: Path, **fields: Any) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, **fields))


def manifest(folder: Path, *datasets: str) -> list[dict[str, str]]:
    """The rows of ``manifest.csv`` (path, label, dataset, group), of some data sets or of all."""
    rows = table(folder / "manifest.csv")
    return [row for row in rows if not datasets or row["dataset"] in datasets]


def half_of(groups: Iterable[str]) -> np.ndarray:
    """(N,) half of each row, 0 or 1: every second group in the order of names is in the other."""
    listed = list(groups)
    place = {group: number % 2 for number, group in enumerate(sorted(set(listed)))}
    return np.array([place[group] for group in listed], np.int64)


def stored(file: Path | None, default: Any) -> Any:
    """The results of a run before, which was stopped; else the default."""
    return json.loads(file.read_text("utf-8")) if file and file.is_file() else default


def store(file: Path | None, content: Any) -> None:
    """Write results as JSON; without a file nothing."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def echo(*parts: Any) -> None:
    """Print texts as they are, and results as JSON."""
    print(*(part if isinstance(part, str) else json.dumps(part) for part in parts), flush=True)


def percent(values: Sequence[Any] | np.ndarray) -> float:
    """Mean of shares in percent, to a tenth."""
    return round(100 * float(np.mean(values)), 1)
