"""Several labels at once, descriptions, and a calibration that is saved and used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

LABELS = "street traffic, a man talking, riding a bike"
FIELDS = [
    "path", "start_s", "end_s", "model", "predictions", "unknown", "unknown_probability", "lost",
]  # fmt: skip


def test_several_labels_at_once_stand_each_for_itself(vlar_command, sparse_clips: dict[str, Path]):
    clip = sparse_clips["carphone_pristine"]
    (row,) = vlar_command("classify", clip, "-l", LABELS, "--mode", "multi", "--json").rows
    assert list(row) == FIELDS
    stated = {p["label"]: p["probability"] for p in row["predictions"]}
    assert row["unknown"] == all(p < 0.5 for p in stated.values())
    assert row["unknown_probability"] == pytest.approx(1 - max(stated.values()), abs=1e-5)
    options = ("--mode", "multi", "--descriptions", "none", "--json")
    (all_,) = vlar_command("classify", clip, "-l", LABELS, *options).rows
    two = "a man talking, street traffic"
    (fewer,) = vlar_command("classify", clip, "-l", two, *options).rows
    for label in two.split(", "):
        among = [
            p["probability"]
            for answer in (all_, fewer)
            for p in answer["predictions"]
            if p["label"] == label
        ]
        assert among[0] == pytest.approx(among[1], abs=1e-6)


def test_one_label_alone_is_answered_with_a_verdict(vlar_command, sparse_clips: dict[str, Path]):
    asked = ("classify", sparse_clips["bikes"], "-l", "street traffic", "--json")
    (row,) = vlar_command(*asked).rows
    assert list(row) == [*FIELDS[:-1], "verdict", FIELDS[-1]]
    stated = row["predictions"][0]["probability"]
    assert row["verdict"] == "yes"
    assert stated >= 0.55
    assert row["unknown_probability"] == pytest.approx(1 - stated, abs=1e-5)


def test_descriptions_can_be_chosen(vlar_command, sparse_clips: dict[str, Path]):
    clip = sparse_clips["carphone_pristine"]  # the shortest
    labels = ("--labels", "riding a bike, archery, knitting", "--json")
    answers = {
        how: vlar_command("classify", clip, *labels, "--descriptions", how)
        for how in ("auto", "none", "scene,motion", "smell")
    }
    assert [done.code for done in answers.values()] == [0, 0, 0, 2]
    assert len({done.out for how, done in answers.items() if how != "smell"}) == 3
    assert "no label has a description of the kind smell" in answers["smell"].advice
    assert "Known: multi, one" in vlar_command("classify", clip, *labels, "--mode", "x").advice


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, sparse_clips: dict[str, Path]) -> Path:
    table = tmp_path_factory.mktemp("checked") / "checked.csv"
    names = {"bikes": "street traffic", "carphone_pristine": "a man talking"}
    names["bigbuckbunny"] = "a cartoon rabbit"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "start_s", "end_s"])
        for clip, label in names.items():
            writer.writerow([sparse_clips[clip], label, 0, 1])
    return table


def test_a_calibration_is_saved_and_used(
    vlar_command, examples: Path, sparse_clips: dict[str, Path], tmp_path: Path
):
    out = tmp_path / "honest"
    done = vlar_command("calibrate", examples, "--out", out, "--json")
    assert done.code == 0
    (row,) = done.rows
    assert row["failed"] == []
    manifest = json.loads((out / "vlar.json").read_text())
    assert manifest["calibration"] == row["calibration"]
    labels = ("-l", LABELS, "--json")
    (plain,) = vlar_command("classify", sparse_clips["bikes"], *labels).rows
    (fitted,) = vlar_command("classify", sparse_clips["bikes"], *labels, "-m", out).rows
    assert list(fitted) == FIELDS
    assert [p["label"] for p in fitted["predictions"]] == [p["label"] for p in plain["predictions"]]
    assert fitted["predictions"] != plain["predictions"]
    total = sum(p["probability"] for p in fitted["predictions"]) + fitted["unknown_probability"]
    assert total == pytest.approx(1, abs=1e-4)
    again = vlar_command("calibrate", examples, "--out", out)
    assert again.code == 2
    assert "--force" in again.advice


def test_examples_that_cannot_calibrate_are_said(
    vlar_command, tmp_path: Path, sparse_clips: dict[str, Path]
):
    table = tmp_path / "two.csv"
    clip = sparse_clips["bikes"]
    table.write_text(f"path,label,start_s,end_s\n{clip},a,0,1\n{clip},b,1,2\n")
    done = vlar_command("calibrate", table, "--out", tmp_path / "model")
    assert done.code == 2
    assert "at least 3" in done.advice
