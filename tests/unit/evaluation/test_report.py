from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from vlar.errors import ProtocolError
from vlar.evaluation.page import write_runs_page
from vlar.evaluation.report import (
    differences,
    domain_means,
    heading,
    lines,
    pairs_of,
    rows,
    sentence,
)
from vlar.evaluation.runner import read_runs, read_skipped, write_runs
from vlar.metrics.figures import Figure, spread
from vlar.metrics.result import EvaluatedClip, evaluation_of


def run(
    card: str = "a", value: float = 0.5, domain: str | None = None, **moves: Any
) -> dict[str, Any]:
    data = {"folders": ["/x"], "files": {"f": "1"}}
    return {
        "card": card,
        "protocol": "zero-shot",
        "figures": [
            Figure("top1", value, value - 0.1, value + 0.1, 10).to_dict(),
            Figure("top1", value / 2, n=10).of(under="shuffle/5").to_dict(),
        ],
        "published": [
            {"method": "M", "figure": "top1", "value": 0.6, "spread": 0.01, "source": "s",
             "where": {}, "protocol": None},
        ],
        "about": {"domain": domain} if domain else {},
        "moves": {"settings": {"seed": 0}, "data": data, **moves},
    }  # fmt: skip


def test_differences_name_every_key_but_the_place_of_the_data():
    other = run(more={"deep": [{"x": 1}]})
    other["moves"]["data"] = {"folders": ["/y"], "files": {"f": "2"}}
    found = differences(run(), other)
    assert [(d.key, d.first, d.second) for d in found] == [
        ("data.files.f", "1", "2"),
        ("more.deep[0].x", "(not there)", "1"),
    ]
    assert differences(run(), run()) == []


def test_a_number_that_differs_has_the_digits_that_tell():
    pairs = [(0.03998344845281405, 0.04), (0.03998344845281405, 0.03998344845281406)]
    found = [differences(run(x=a), run(x=b))[0] for a, b in pairs]
    assert [(d.first, d.second) for d in found] == [
        ("0.03998", "0.04"),
        ("0.03998344845281405", "0.03998344845281406"),
    ]


def test_rows_stand_next_to_published_figures():
    table = rows([run(value=0.5), run(value=0.7)])
    assert "50.0 [40 to 60]" in sentence(table[0])
    assert "70.0 [60 to 80]" in sentence(table[0])
    assert "published: M 60.0 +- 1.0" in sentence(table[0])
    assert "published" not in sentence(table[1])


def test_a_heading_counts_labels_and_splits():
    splits = {"splits": [{"labels": 101}, {"labels": 101}, {"labels": 101}]}
    assert heading(run(data=splits)) == "a, zero-shot, 101 labels, 3 splits"
    assert heading(run(data={"splits": [{"labels": 51}]})) == "a, zero-shot, 51 labels"
    assert heading(run()) == "a, zero-shot"


def test_lines_put_controls_to_the_right():
    figures = [Figure.restore(row) for row in run()["figures"]]
    head, line = lines(figures)
    assert head.split() == ["clean", "shuffle/5"]
    assert line.split() == ["top1", "50.0", "[40", "to", "60]", "25.0"]


def test_runs_are_paired_by_card_then_by_protocol():
    groups = list(pairs_of([[run("a"), run("b")], [run("b")], [run("c")]]))
    assert [[r["card"] for r in group] for group in groups] == [["a", "b", "c"], ["b"]]


def test_domains_are_averaged_and_skipped_cards_are_kept(tmp_path: Path):
    runs = [run("a", 0.2, "sports"), run("b", 0.4, "sports"), run("c", 0.9, "daily")]
    found = {row.where["domain"]: row for row in domain_means(runs)}
    assert found["sports"].values[0].value == pytest.approx(0.3)
    assert found["all"].values[0].value == pytest.approx(0.5)
    assert found["daily"].where["cards"] == "1"
    assert domain_means([run("a", 0.2, "sports"), run("b")]) == []
    skipped = [{"card": "d", "error": {"kind": "missing_set", "message": "no folder"}}]
    write_runs(tmp_path / "r.json", runs, skipped)
    assert read_skipped(tmp_path / "r.json") == skipped
    assert len(read_runs(tmp_path / "r.json")) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "format None"),
        ('{"format": 1, "runs": [{}]}', "without card"),
        ('{"per_label": [], "n": 3}', "not a result of 'vlar evaluate'"),
    ],
)
def test_files_that_are_no_runs_are_refused(tmp_path: Path, text: str, says: str):
    file = tmp_path / "run.json"
    file.write_text(text)
    refused(ProtocolError, says, read_runs, file)


def test_a_result_of_evaluate_is_a_run_with_the_same_figures(tmp_path: Path):
    settings = {"encoder": "lite", "fingerprint": "0f", "frames": 32}
    found = evaluation_of(
        ["pour", "wave"],
        [
            EvaluatedClip.of(
                ["pour", "wave"], [n % 2], np.array([0.6, 0.3]), (0.1, False), start_s=0, end_s=1,
                path=Path(f"{n}.mp4"), group=str(n), cells={"light": "day"},
            )
            for n in range(6)
        ],
        model="mine", source=Path("/x/clips"), settings=settings,
    )  # fmt: skip
    for name, changed in (("a", {}), ("b", {"frames": 8})):
        made = {**found.to_dict(), "settings": {**settings, **changed}}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    (first,), (second,) = (read_runs(tmp_path / f"{name}.json") for name in "ab")
    assert heading(first) == "clips, evaluate, 2 labels"
    assert [(d.key, d.first, d.second) for d in differences(first, second)] == [
        ("settings.frames", "32", "8")
    ]
    shown = {(row.name, row.where.get("value")): row.values for row in rows([first, second])}
    assert shown["top1", None][1] == Figure("top1", 0.5, *found.to_dict()["intervals"]["top1"], 6)
    assert shown["top1", "day"][0] == found.slices[0]
    assert shown["mAP", None][0].value == found.map
    page = tmp_path / "runs.html"
    write_runs_page(page, [(Path("a.json"), [first]), (Path("b.json"), [second])])
    assert "settings.frames" in page.read_text("utf-8")
    assert read_skipped(tmp_path / "a.json") == []


def test_spread_is_over_one_key_and_needs_two_values():
    rows_ = [
        Figure("top1", v, n=5).of(split=s, under=u)
        for s, v in ((1, 0.2), (2, 0.4))
        for u in (None, "x")
    ]
    found = {(f.name, f.where.get("under")): f.value for f in spread(rows_, "split")}
    assert found["top1", None] == pytest.approx(0.3)
    assert found["top1 std", "x"] == pytest.approx(0.1)
    assert spread(rows_[:1], "split") == []


def test_seeds_with_a_mean_are_left_out_of_a_summary():
    seeds = [Figure("top1", v, n=5).of(shots=2, seed=s) for s, v in ((0, 0.2), (1, 0.4))]
    other = Figure("top1", 0.9, n=5).of(shots=4, seed=0)
    shown = lines([*seeds, other, *spread(seeds, "seed")])
    assert [line.split(" ")[0] for line in shown] == ["top1", "top1", "top1"]
    assert "shots 4, seed 0" in shown[0]
    assert "30.0" in shown[1]
