"""Figures of result files next to their floors, evaluations and benchmarks in one list.

    python -m evals.floors [NAME ...]
    python -m evals.floors --run NAME ... [--shared DIR] [--cache DIR] [--out FOLDER]

``floors.toml`` has an entry for each result file whose script is in the tree: the command that
makes it, and bounds of its figures. ``NAME`` is ``evals/tracks`` for ``evals/results/tracks.json``.
A path leads to a figure by keys between `` > ``: ``*`` takes all keys, ``[pool=jhmdb, labels=all]``
the rows of a list that have these values, and what it leads to is averaged.

``--run`` makes the file by its command in a new folder, adds versions, machine, threads and commit,
compares it, and puts it into the tree, or into FOLDER. Exit status: 1 where a figure is past its
bound, is missing, or a command failed.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evals.harness import commit, environment
from vlar.toml import read_toml

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "evals" / "results" / "floors.toml"
DESCRIBED_BY = ("question", "figures", "measured", "note")  # stays when a file is made again
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Verdict(NamedTuple):
    """A figure next to its bounds; NaN for a figure that is not in the file."""

    path: str
    value: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        return self.least <= self.value <= self.most

    @property
    def bounds(self) -> str:
        low, high = (f"{bound:g}" if math.isfinite(bound) else "" for bound in self[2:])
        return f"{low} to {high}".strip()


def result_file(name: str) -> Path:
    """The file of an entry, relative to the root."""
    folder, _, stem = name.partition("/")
    return Path(folder, "results", f"{stem}.json")


def figures(content: Any, keys: list[str]) -> Iterator[float]:
    """Figures that a path leads to; a text has the first number in it, a list all of its own."""
    if not keys and isinstance(content, list):
        yield from (float(value) for value in content)
    elif not keys:
        number = NUMBER.match(content) if isinstance(content, str) else None
        yield float(number[0] if number else content)
    elif keys[0] == "*":
        for value in content.values():
            yield from figures(value, keys[1:])
    elif keys[0].startswith("["):
        pairs = dict(pair.split("=") for pair in keys[0].strip("[]").split(", "))
        for row in content:
            if all(str(row.get(key)) == value for key, value in pairs.items()):
                yield from figures(row, keys[1:])
    else:
        yield from figures(content[keys[0]], keys[1:])


def verdict(content: Any, path: str, rule: Mapping[str, float]) -> Verdict:
    """A figure of a file next to its bounds: ``least``, ``most``, or ``equal`` and ``within``."""
    least, most = rule.get("least", -math.inf), rule.get("most", math.inf)
    if "equal" in rule:
        least, most = rule["equal"] - rule["within"], rule["equal"] + rule["within"]
    try:
        values = list(figures(content, path.split(" > ")))
        value = sum(values) / len(values)
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError):
        value = math.nan
    return Verdict(path, value, least, most)


def made(
    entry: Mapping[str, Any], file: Path, folders: Mapping[str, Path], root: Path
) -> dict[str, Any]:
    """The result of an entry's command, with what made it.

    Raises:
        CalledProcessError: the command failed.
        FileNotFoundError: it wrote no result.
    """
    with tempfile.TemporaryDirectory() as room:
        fresh = Path(room) / file.name
        places = {"cache": Path(room) / "cache", **folders, "file": fresh, "room": Path(room)}
        script, *options = shlex.split(entry["command"].format_map(places))[1:]
        subprocess.run([sys.executable, script, *options], cwd=root, check=True)
        content = json.loads(fresh.read_text("utf-8"))
    stated = {"shared": "../shared", "cache": "CACHE", "file": file, "room": "FOLDER"}
    old = json.loads((root / file).read_text("utf-8")) if (root / file).exists() else {}
    described = {key: old[key] for key in DESCRIBED_BY if isinstance(old.get(key), str | bool)}
    made_by = {"command": entry["command"].format_map(stated), "commit": commit()}
    return {**made_by, "environment": environment(), **described, **content, **made_by}


def fallen(name: str, content: Any, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Rules that do not hold, after a printed line for each rule."""
    verdicts = [verdict(content, path, rule) for path, rule in rules.items()]
    for each in verdicts:
        state = "" if each.holds else "MISSING" if math.isnan(each.value) else "FELL"
        print(f"| {name} | {each.path} | {each.bounds} | {each.value:.4g} | {state} |", flush=True)
    return {each.path: rules[each.path] for each in verdicts if not each.holds}


def run(
    name: str, entry: Mapping[str, Any], folders: Mapping[str, Path], root: Path, out: Path
) -> bool:
    """Make a file and compare it; whether every figure held once in ``tries``."""
    file, rules = result_file(name), entry["floors"]
    # What else a machine does slows one side of a ratio once; what became slower falls each time.
    for _ in range(entry.get("tries", 1)):
        content = made(entry, file, folders, root)
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        rules = fallen(name, content, rules)
        if not rules:
            return True
    return False


def main(arguments: list[str] | None = None, table: Path = TABLE, root: Path = ROOT) -> int:
    """Compare results, made before or now."""
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=how)
    parser.add_argument("names", nargs="*", metavar="NAME", help="entries; default: all")
    parser.add_argument("--run", action="store_true", help="make the files again first")
    parser.add_argument("--shared", type=Path, default=root.parent / "shared", help="the data")
    parser.add_argument("--cache", type=Path, help="folder that keeps features between runs")
    parser.add_argument("--out", type=Path, default=root, help="folder for files; default: here")
    asked = parser.parse_args(arguments)
    entries = read_toml(table.read_text("utf-8"))
    unknown = ", ".join(name for name in asked.names if name not in entries)
    if unknown or (asked.run and not asked.names):
        parser.error(f"{unknown or '--run'}: name entries of {table.name}: {', '.join(entries)}")
    folders = {"shared": asked.shared} | ({"cache": asked.cache} if asked.cache else {})
    fell: list[str] = []
    print("| result | figure | bounds | value | |\n|---|---|---|---|---|", flush=True)
    for name in asked.names or entries:
        try:
            if asked.run:
                holds = run(name, entries[name], folders, root, asked.out)
            else:
                content = json.loads((root / result_file(name)).read_text("utf-8"))
                holds = not fallen(name, content, entries[name]["floors"])
        except (OSError, subprocess.CalledProcessError, json.JSONDecodeError) as error:
            print(f"| {name} | {error} | | | FAILED |", flush=True)
            holds = False
        fell += [] if holds else [name]
    others = {*root.glob("*/results/*.json")} - {root / result_file(name) for name in entries}
    print(f"\n{len(fell)} of {len(asked.names or entries)} fell: {', '.join(fell) or 'none'}")
    print(f"{len(others)} more result files have their script at the commit that they name")
    return min(len(fell), 1)


if __name__ == "__main__":
    sys.exit(main())
