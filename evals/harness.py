"""Arguments, tables of clips, halves and results: what every script shares."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

MADE_BY = ("command", "commit", "environment")
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
    if not file or not file.is_file():
        return default
    content = json.loads(file.read_text("utf-8"))
    results = {name: value for name, value in content.items() if name not in MADE_BY}
    return results["rows"] if {*results} - {"summary"} == {"rows"} else results


def store(file: Path | None, content: Any) -> None:
    """Write results as JSON, with the command and the commit that made them, to a file if given."""
    if not file:
        return
    results = content if isinstance(content, dict) else {"rows": content}
    made_by: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "commit": commit()}
    made_by["environment"] = environment()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made_by | results, indent=1) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Versions, machine and threads of this process."""
    packages = ("vlar", "numpy", "torch", "onnxruntime", "faiss-cpu", "av")
    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    asked = os.environ.get("OMP_NUM_THREADS")
    return found | {"cores": os.cpu_count(), "threads": threads or asked or "not set"}


def commit() -> str:
    """The commit of this checkout; empty outside of one."""
    call = ["git", "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(
        call, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def echo(*parts: Any) -> None:
    """Print texts as they are, and results as JSON."""
    print(*(part if isinstance(part, str) else json.dumps(part) for part in parts), flush=True)


def percent(values: Sequence[Any] | np.ndarray) -> float:
    """Mean of shares in percent, to a tenth."""
    return round(100 * float(np.mean(values)), 1)
