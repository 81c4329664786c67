from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation import colours
from vlar.errors import ProtocolError
from vlar.evaluation.runner import run_card
from vlar.evaluation.suite import read_suite, table_rows, write_table

ROOT = Path(__file__).resolve().parents[4]
SUITE = """
name = "two"
[[cards]]
name = "ways"
protocol = ["zero-shot", "retrieval"]
[[cards]]
name = "learned"
protocol = "few-shot"
controls = false
[cards.settings]
shots = [1]
seeds = [0]
method = "prototype"
[[rows]]
name = "by texts: top-1 / chance"
card = "ways"
protocol = "zero-shot"
figure = "top1"
control = "chance"
[[rows]]
name = "reversed"
card = "ways"
protocol = "zero-shot"
figure = "top1"
where = {under = "reverse/5"}
[[rows]]
name = "learned / chance"
card = "learned"
protocol = "few-shot"
figure = "top1"
where = {shots = "1", seed = "0"}
control = "chance"
control_where = {}
"""
COST = ("CPU time of a clip, ms", "memory at most, MB")
LABELS = ("red left", "red right", "blue left", "blue right")


def suite(tmp_path: Path, text: str = SUITE):
    file = tmp_path / "two.toml"
    file.write_text(text)
    return read_suite(file)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    place = tmp_path_factory.mktemp("suite")
    data, model, read = colours.folder(place / "data", LABELS, 2), colours.model(), suite(place)
    runs: list[dict[str, Any]] = []
    for card, controls in zip(read.cards, read.controls, strict=True):
        runs += run_card(card, data, model, controls=controls)
    assert all("under" not in f["where"] for run in runs[2:] for f in run["figures"])
    return table_rows(read, runs)


def test_cells_are_the_figures_of_the_runs(rows: list[tuple[str, str]]):
    cells = dict(rows)
    # The encoder is right on every clip, reads the way from the order alone, and chance is 1 in 4.
    assert cells["by texts: top-1 / chance"].startswith("100.0 [")
    assert cells["by texts: top-1 / chance"].endswith("/ 25.0")
    assert cells["reversed"].startswith("0.0 [")
    assert cells["learned / chance"].endswith("/ 25.0")
    assert list(cells)[-2:] == list(COST)


def test_a_page_keeps_its_text_and_other_models(tmp_path: Path, rows: list[tuple[str, str]]):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- two -->\nold\n<!-- /two -->\nafter\n")
    write_table(page, "two", "first", rows)
    write_table(page, "two", "second", [(name, "-") for name, _ in rows])
    write_table(page, "two", "first", [(name, "1.0") for name, _ in rows])
    text = page.read_text()
    assert text.startswith("before\n<!-- two -->\n")
    assert text.endswith("<!-- /two -->\nafter\n")
    assert "| two | `first` | `second` |" in text
    assert text.count("| 1.0 | - |") == len(rows)
    write_table(page, "two", "third", [("another row", "2.0")])
    assert "`first`" not in page.read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SUITE.replace('card = "learned"', 'card = "lerned"'), "a card 'lerned', which does not"),
        (SUITE.replace('"zero-shot"\nfigure', '"spans"\nfigure', 1), "asks for protocol 'spans'"),
        (SUITE.replace('name = "learned"', 'name = "ways"'), "two cards are called 'ways'"),
        (SUITE.replace("control =", "kontrol =", 1), "unknown key 'kontrol'"),
    ],
)
def test_a_wrong_suite_is_named(tmp_path: Path, wrong: str, said: str):
    with pytest.raises(ProtocolError, match=said):
        suite(tmp_path, wrong)


def test_a_row_without_its_figure_is_named(tmp_path: Path):
    read = suite(tmp_path)
    run = {"card": "ways", "protocol": "zero-shot", "figures": []}
    with pytest.raises(ProtocolError, match=r"no figure 'top1' of \{\}; there are none"):
        table_rows(read, [run])


@pytest.mark.parametrize("text", ["none", "<!-- two -->"])
def test_a_page_without_markers_is_refused(tmp_path: Path, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ProtocolError, match="put them where the table belongs"):
        write_table(page, "two", "m", [("a", "b")])


def test_the_table_in_the_readme_is_the_one_of_the_mini_benchmark():
    """Its rows are those of ``evals/mini.toml``; every cell of a figure holds its control."""
    read = read_suite(ROOT / "evals" / "mini.toml")
    text = (ROOT / "README.md").read_text("utf-8")
    table = text.partition("<!-- mini -->")[2].partition("<!-- /mini -->")[0].strip()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len(lines[0]) >= 3, "at least a model and a control model"
    names = [row.name for row in read.rows]
    assert [line[0] for line in lines[2:]] == [*names, *COST]
    shape = re.compile(r"(\d+\.\d|-)( \[\d+ to \d+\])? / (\d+\.\d|-)")
    for line in lines[2 : 2 + len(names)]:
        assert len(line) == len(lines[0])
        assert all(shape.fullmatch(cell) for cell in line[1:]), line
