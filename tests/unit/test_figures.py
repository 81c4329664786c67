"""Figures that stand on several pages come from one result file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Columns of the table of few-shot figures, and the names of its rows in the result files.
FILES = ("few_shot_lite", "few_shot_bodies", "few_shot_bodies_disjoint")
POOLS = {
    "JHMDB, 21 labels": "jhmdb",
    "Weizmann, 10 labels": "weizmann",
    "Something-Something V2, 15 labels": "something-something-v2",
}


def measured(file: str, pool: str) -> str:
    results = json.loads((ROOT / "evals" / "results" / f"{file}.json").read_text())["results"]
    asked = {"pool": pool, "labels": "all", "method": "auto"}
    for row in results:
        if asked.items() <= row.items():
            return f"{row['top1']} ± {row['ci95']}"
    return ""


@pytest.mark.parametrize("page", ["README.md", "docs/fewshot.md"])
def test_few_shot_figures_are_the_measured_ones(page: str):
    lines = (ROOT / page).read_text("utf-8").splitlines()
    for name, pool in POOLS.items():
        cells = [
            [cell.strip() for cell in line.split("|")[2:-1]]
            for line in lines
            if line.startswith(f"| {name} |")
        ]
        few_shot = [row for row in cells if any("±" in cell for cell in row)]
        assert few_shot == [[measured(file, pool) for file in FILES]], name
