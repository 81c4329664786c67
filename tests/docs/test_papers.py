"""The table of the papers: a row for each of the 66 systems, with its network and its claim."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from vlar import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "papers.md").read_text("utf-8")
HEAD = "| system | in vlar | network | equal to the original | figure; control | claim |"
CLAIM = re.compile(r"shown|denied|not tested fairly: [\w ,()-]+")
KINDS = ("adapter", "objective", "fewshot", "encoder", "learner")


def rows() -> list[list[str]]:
    """Cells of each row of the table."""
    lines = PAGE.partition(HEAD)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


ROWS = rows()


def statuses(code: str) -> list[str]:
    """Declared statuses of the parts of a name: ``i3d`` names an encoder and an adapter."""
    kinds = [("encoder",)] if ":" in code else [KINDS]
    name = code.partition(":")[0]
    found = [registry.status(kind, name) for kind in kinds[0] if name in registry.names(kind)]
    return [status for status in found if status]


def test_each_of_the_66_systems_has_a_whole_row():
    # VideoMAE V2 has two rows: its network, and the study that used it.
    assert len({row[0] for row in ROWS}) == len(ROWS) == 67
    for row in ROWS:
        assert len(row) == 6, row
        assert all(row), row
        assert row[2] in ("equal", "formulas", "ours"), row
        assert CLAIM.fullmatch(row[5]), row


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_network_and_claim_agree_with_the_status_of_the_first_part(row: list[str]):
    """A part that is reproduced has an equal network; one that gained nothing shows no claim."""
    declared = next(filter(None, map(statuses, re.findall(r"`([^`]+)`", row[1]))), [])
    if "reproduced" in declared:
        assert row[2] == "equal", row
    if declared and set(declared) == {"null here"}:
        assert row[5] != "shown", row
    if row[2] == "equal":
        assert not row[3].startswith("nothing"), row


def test_a_claim_that_was_decided_has_figures_with_an_error_or_a_control():
    for row in ROWS:
        if row[5] in ("shown", "denied"):
            assert re.search(r"±|shuffled|noise", row[4]), row


def test_every_part_with_a_status_is_on_the_page():
    named = set(re.findall(r"`([\w-]+)(?::FILE|:FOLDER|:)?`", PAGE))
    parts = {name for kind in KINDS for name in registry.names(kind) if registry.status(kind, name)}
    assert not parts - named


MEASURED = re.compile(r"\d|cost alone|(data|recordings) are not here|\]\(")


def test_every_row_states_what_was_measured():
    assert not [row for row in ROWS if not MEASURED.search(row[4])]


FIGURES = re.compile(r"(?:evals|benchmarks)/[\w/]+\.(?:json|py|toml)|docs/\w+\.md")


@pytest.mark.parametrize("file", sorted((ROOT / "vlar/methods").glob("*/README.md")), ids=str)
def test_figures_of_a_readme_name_their_file_or_command(file: Path):
    text = file.read_text("utf-8").partition("**Figures**")[2]
    sources = FIGURES.findall(text)
    assert sources or not re.search(r"\d+\.\d", text), "figures without a result file or command"
    assert not [name for name in sources if not (ROOT / name).exists()]


FIGURE = re.compile(r"(?<![\w./`-])\d*\.\d+(?![\w`])")

Series = list[float]


def spread(values: Series) -> Iterator[float]:
    """Mean of some numbers, their deviation (also of a sample), and the error of the mean."""
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    yield abs(mean)
    yield (squares / len(values)) ** 0.5
    yield (squares / (len(values) - 1)) ** 0.5
    yield (squares / (len(values) - 1) / len(values)) ** 0.5


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of all that lies in a JSON object."""
    if not isinstance(node, dict):
        yield path, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{path}/{key}")


def is_number(value: Any) -> bool:
    """Whether it is a number that can be averaged."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def named_by_seed(node: dict[str, Any]) -> Iterator[dict[str, Series]]:
    """Tables of the entries whose names end in ", seed N"; those of the same seeds are paired."""
    seeds: dict[str, dict[str, Any]] = {}
    for key, value in node.items():
        name, mark, seed = key.partition(", seed ")
        if mark and seed.isdigit():
            seeds.setdefault(name, {})[seed] = dict(leaves(value))
    found: dict[tuple[str, ...], dict[str, Series]] = {}
    for name, rows in seeds.items():
        order = sorted(rows)
        for path in set.intersection(*map(set, rows.values())):
            values = [rows[seed][path] for seed in order]
            if all(map(is_number, values)):
                found.setdefault((path, *order), {})[name] = values
    yield from found.values()


def tables(node: Any) -> Iterator[dict[str, Series]]:
    """Numbers of the same seeds or folds, by what was measured: tables whose rows are paired."""
    if isinstance(node, dict):
        yield from named_by_seed(node)
        node = list(node.values())
    if not isinstance(node, list):
        return
    rows = [dict(leaves(row)) for row in node if isinstance(row, dict)]
    if node and all(map(is_number, node)):
        yield {"": node}
    shared = [key for key in (rows[0] if rows else ()) if all(key in row for row in rows)]
    columns = {key: [row[key] for row in rows] for key in shared}
    yield {key: found for key, found in columns.items() if all(map(is_number, found))}
    seeded: dict[str, dict[str, Series]] = {}
    for row in rows:
        told = [f"{k}={v}" for k, v in row.items() if k != "/seed" and not isinstance(v, float)]
        for key, value in row.items() if "/seed" in row else ():
            if isinstance(value, float):
                series = seeded.setdefault(key, {})
                series.setdefault(" ".join(told), []).append(value)
    yield from seeded.values()
    for inner in node:
        yield from tables(inner)


def plain(node: Any) -> Iterator[float]:
    """All numbers of a JSON file, also those in its texts."""
    for _, value in leaves(node):
        if isinstance(value, list):
            for inner in value:
                yield from plain(inner)
        elif isinstance(value, str):
            yield from map(float, FIGURE.findall(value))
        elif is_number(value):
            yield abs(float(value))


def gains(table: dict[str, Series]) -> Iterator[tuple[float, float]]:
    """Mean and error of the paired difference of each two columns of as many rows."""
    for one, other in combinations(table.values(), 2):
        if len(one) == len(other) > 1:
            mean, _, _, error = spread([a - b for a, b in zip(one, other, strict=True)])
            yield mean, error


def is_near(figure: str, values: Iterable[float]) -> bool:
    """Whether one of the numbers, or a share in percent, is a printed figure."""
    step = 0.5001 * 10.0 ** -len(figure.partition(".")[2])
    return any(min(abs(n - float(figure)), abs(100 * n - float(figure))) <= step for n in values)


GAIN = re.compile(r"(\d*\.\d+)\s±\s(\d*\.\d+)")


def lost_figures(text: str, files: Iterable[Any]) -> list[str]:
    """Figures of a text that no file holds: as a number, a mean, an error, or a paired gain."""
    files = list(files)
    every = [table for content in files for table in tables(content)]
    series = [one for table in every for one in table.values() if len(one) > 1]
    stored = [n for content in files for n in plain(content)]
    stored += [n for one in series for n in spread(one)]
    paired = {gain for table in every for gain in gains(table)}

    def is_gain(told: re.Match[str]) -> bool:
        return any(is_near(told[1], [mean]) and is_near(told[2], [error]) for mean, error in paired)

    text = GAIN.sub(lambda told: "" if is_gain(told) else told[0], text)
    return [figure for figure in FIGURE.findall(text) if not is_near(figure, stored)]


@pytest.mark.parametrize(
    "name", sorted(p.parent.name for p in (ROOT / "vlar/methods").glob("*/README.md"))
)
def test_figures_of_a_readme_are_in_its_result_files(name: str):
    text = (ROOT / "vlar" / "methods" / name / "README.md").read_text("utf-8")
    text = text.partition("**Figures**")[2]
    named = re.findall(r"(evals|benchmarks)/(?:results/)?(\w+)\.(?:json|py)", text)
    files = [ROOT / folder / "results" / f"{stem}.json" for folder, stem in set(named)]
    read = [json.loads(one.read_text("utf-8")) for one in files if one.is_file()]
    lost = lost_figures(re.sub(r"`[^`]*`", "", text), read)
    assert not lost, f"{name}: no file holds {lost}"


def test_a_figure_that_no_file_holds_is_found():
    rows = [{"seed": n, "method": m, "top1": v} for m, values in {"a": (0.5, 0.7, 0.6),
            "b": (0.4, 0.4, 0.5)}.items() for n, v in enumerate(values)]  # fmt: skip
    told = "a has 60.0, b 43.3, the gain is 16.7 \u00b1 6.7; .123 and 16.7 \u00b1 1.1 are not there"
    assert lost_figures(told, [{"rows": rows}]) == [".123", "16.7", "1.1"]
