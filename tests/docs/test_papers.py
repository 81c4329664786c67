"""The table of the papers: a row for each of the 66 systems, with the status that is declared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlar import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "papers.md").read_text("utf-8")
HEAD = "| system | in vlar | equal to the original | ours | figure; control | status |"
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
    assert len({row[0] for row in ROWS}) == len(ROWS) == 66
    for row in ROWS:
        assert len(row) == 6, row
        assert all(row), row
        assert row[5].strip("`") in registry.STATUSES, row


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_status_is_that_of_the_first_part(row: list[str]):
    declared = next(filter(None, map(statuses, re.findall(r"`([^`]+)`", row[1]))), [])
    assert not declared or row[5].strip("`") in declared, (row[0], declared)


def test_every_part_with_a_status_is_on_the_page():
    named = set(re.findall(r"`([\w-]+)(?::FILE|:FOLDER|:)?`", PAGE))
    parts = {name for kind in KINDS for name in registry.names(kind) if registry.status(kind, name)}
    assert not parts - named


def test_null_rows_state_what_they_were_compared_with():
    for row in ROWS:
        if row[5] == "`null here`":
            assert re.search(r"\d|nothing", row[4]), row
            assert row[4] != "not measured", row


FIGURES = re.compile(r"(?:evals|benchmarks)/[\w/]+\.(?:json|py|toml)|docs/\w+\.md")


@pytest.mark.parametrize("file", sorted((ROOT / "vlar/methods").glob("*/README.md")), ids=str)
def test_figures_of_a_readme_name_their_file_or_command(file: Path):
    text = file.read_text("utf-8").partition("**Figures**")[2]
    sources = FIGURES.findall(text)
    assert sources or not re.search(r"\d+\.\d", text), "figures without a result file or command"
    assert not [name for name in sources if not (ROOT / name).exists()]


FIGURE = re.compile(r"(?<![\w./`-])\d*\.\d+(?![\w`])")
#: Figures that no file of their README holds (differences, errors, lost tables): it may only fall.
NOT_STORED = {
    "align": 3,
    "aligned": 4,
    "ar_net": 4,
    "atcon": 2,
    "body_parts": 2,
    "dear": 1,
    "distill": 1,
    "events": 1,
    "exchange": 3,
    "label_tree": 2,
    "long_tail": 4,
    "pcan": 3,
    "sa_dvae": 2,
    "sefar": 3,
    "soar": 1,
    "temporal": 9,
    "token_reuse": 8,
    "video_net": 4,
}


def spread(values: list[float]) -> Iterator[float]:
    """Mean of some numbers, their deviation (also of a sample), and the error of the mean."""
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    yield mean
    yield (squares / len(values)) ** 0.5
    yield (squares / (len(values) - 1)) ** 0.5
    yield (squares / (len(values) - 1) / len(values)) ** 0.5


def numbers(node: Any) -> Iterator[float]:
    """All numbers of a JSON file, also those in its texts, and means over seeds and lists."""
    if isinstance(node, dict):
        seeds: dict[str, list[Any]] = {}
        for key, value in node.items():
            name, mark, seed = key.partition(", seed ")
            if mark and seed.isdigit():
                seeds.setdefault(name, []).append(value)
        node = [*node.values(), *seeds.values()]
    if isinstance(node, list):
        rows = [row for row in node if isinstance(row, dict)]
        columns = [[row.get(key) for row in rows] for key in {key for row in rows for key in row}]
        for column in (node, *columns):
            plain = [n for n in column if isinstance(n, int | float) and not isinstance(n, bool)]
            if len(plain) == len(column) > 1:
                yield from spread(plain)
            elif column is not node and all(isinstance(row, dict) for row in column):
                yield from numbers(column)
        for inner in node:
            yield from numbers(inner)
    elif isinstance(node, str):
        yield from map(float, FIGURE.findall(node))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield abs(float(node))


@pytest.mark.parametrize(
    "name", sorted(p.parent.name for p in (ROOT / "vlar/methods").glob("*/README.md"))
)
def test_figures_of_a_readme_are_in_its_result_files(name: str):
    text = (ROOT / "vlar" / "methods" / name / "README.md").read_text("utf-8")
    text = text.partition("**Figures**")[2]
    named = re.findall(r"(evals|benchmarks)/(?:results/)?(\w+)\.(?:json|py)", text)
    files = [ROOT / folder / "results" / f"{stem}.json" for folder, stem in set(named)]
    read = [json.loads(one.read_text("utf-8")) for one in files if one.is_file()]
    stored = [n for content in read for n in numbers(content)]
    stored += [100 * n for n in stored]
    lost = [
        figure
        for figure in FIGURE.findall(re.sub(r"`[^`]*`", "", text))
        if not any(
            abs(n - float(figure)) <= 0.5001 * 10.0 ** -len(figure.partition(".")[2])
            for n in stored
        )
    ]
    assert len(lost) <= NOT_STORED.get(name, 0), f"{len(lost)} {lost}"
