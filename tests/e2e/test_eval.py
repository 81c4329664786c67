"""``vlar eval`` and ``vlar report`` on tiny data sets, as real commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import fake_datasets
from vlar.evaluation.datasets.base import read_dataset


@pytest.fixture(scope="module")
def ucf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_datasets.ucf101(tmp_path_factory.mktemp("ucf") / "UCF", clips=1)


def card(file: Path, **content: Any) -> Path:
    """A protocol file; JSON values are TOML values for what stands here."""

    def value(x: Any) -> str:
        if isinstance(x, dict):
            return "{" + ", ".join(f'"{k}" = {value(v)}' for k, v in x.items()) + "}"
        if isinstance(x, list):
            return "[" + ", ".join(map(value, x)) + "]"
        return json.dumps(x)

    content = {"name": file.stem, **content}
    file.write_text("\n".join(f"{k} = {value(v)}" for k, v in content.items()))
    return file


@pytest.fixture(scope="module")
def run_file(vlar_command, ucf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zero-shot and retrieval of the first split, with controls."""
    out = tmp_path_factory.mktemp("run") / "run.json"
    done = vlar_command("eval", "zero-shot", "retrieval", "--data", ucf, "--out", out, "--json")
    assert done.code == 0, done.err
    assert [row["protocol"] for row in done.rows] == ["zero-shot", "retrieval"]
    return out


def test_a_run_names_all_that_moves_it(run_file: Path):
    first, second = json.loads(run_file.read_text())["runs"]
    moves = first["moves"]
    assert moves["data"]["splits"][0]["layout"] == "ucf101"
    assert len(moves["data"]["files"]["testlist01.txt"]) == 64
    assert moves["model"]["encoder"] == "lite"
    assert moves["model"]["sampling"]["frames"] == 32
    assert moves["model"]["pixels"]["crop"]
    assert moves["model"]["background"]["sha256"]
    assert next(iter(moves["labels"].values())) == ["apply lipstick", "archery", "baby crawling"]
    assert {row["where"].get("under") for row in first["figures"]} >= {
        None,
        "one-frame",
        "shuffle/5",
    }
    assert first["cost"]["clips_encoded"] + first["cost"]["clips_reused"] == 12
    assert second["cost"]["clips_encoded"] == 0, "features are shared over protocols"
    assert second["tables"]["index_bytes"] > 0


def test_the_report_prints_what_differs_first(
    vlar_command, run_file: Path, ucf: Path, tmp_path: Path
):
    other, page = tmp_path / "other.json", tmp_path / "runs.html"
    named = card(
        tmp_path / "ucf.toml", protocol="zero-shot", data={"options": {"split": 2}},
        descriptions="none", published=[{
            "method": "Someone", "figure": "top1", "value": 0.25, "source": "a table",
        }],
    )  # fmt: skip
    done = vlar_command("eval", named, "--data", ucf, "--no-controls", "--out", other)
    assert done.code == 0, done.err
    assert "top1" in done.out
    done = vlar_command("report", run_file, other, "--html", page)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    differing = next(n for n, line in enumerate(lines) if "differ in" in line)
    figure = next(n for n, line in enumerate(lines) if line.strip().startswith("top1"))
    assert differing < figure
    assert any("descriptions: auto | none" in line for line in lines[differing:figure])
    assert any("data.files.testlist02.txt" in line for line in lines[differing:figure])
    assert "published: Someone 25.0" in lines[figure]
    text = page.read_text()
    assert "<svg" in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_the_report_refuses_another_version_and_shows_the_rest(
    vlar_command, run_file: Path, tmp_path: Path
):
    old = tmp_path / "old.json"
    content = json.loads(run_file.read_text())
    old.write_text(json.dumps({**content, "format": 0}))
    done = vlar_command("report", old, run_file)
    assert done.code == 1
    assert "a run of format 0" in done.advice
    assert "top1" in done.out
    assert vlar_command("report", old).code == 2


def test_half_of_the_videos_missing_is_said_and_counted(vlar_command, ucf: Path, tmp_path: Path):
    root = Path(shutil.copytree(ucf, tmp_path / "half"))
    gone = sorted((root / "UCF-101").rglob("*_g01_*.avi"))[:2]
    for file in gone:
        file.unlink()
    out = tmp_path / "run.json"
    done = vlar_command("eval", "zero-shot", "--data", root, "--no-controls", "--out", out)
    assert done.code == 1
    assert "2 listed clips are missing" in done.err
    assert "2 of 3 labels are empty classes" in done.err
    assert "one clip only" in done.err
    (run,) = json.loads(out.read_text())["runs"]
    assert run["missing"] == [str(file) for file in gone]
    by = {row["name"]: row["value"] for row in run["figures"]}
    assert by["top1, missing as wrong"] == pytest.approx(by["top1"] / 3)


def test_a_broken_video_is_named_and_not_counted(vlar_command, ucf: Path, tmp_path: Path):
    root = Path(shutil.copytree(ucf, tmp_path / "broken"))
    bad = sorted((root / "UCF-101").rglob("*_g01_*.avi"))[0]
    bad.write_bytes(b"nothing")
    done = vlar_command("eval", "zero-shot", "--data", root, "--no-controls", "--json")
    assert done.code == 1
    assert bad.name in done.advice
    (run,) = done.rows
    assert run["failed"][0]["path"] == str(bad)
    assert next(row["n"] for row in run["figures"] if row["name"] == "top1") == 2


def test_a_dry_run_counts_and_computes_nothing(vlar_command, ucf: Path):
    done = vlar_command("eval", "zero-shot", "supervised", "--data", ucf, "--dry-run", "--json")
    assert done.code == 0
    row = done.rows[0]
    assert row["splits"][0]["subsets"] == {
        "train": {"listed": 6, "there": 6, "missing": 0},
        "test": {"listed": 3, "there": 3, "missing": 0},
    }
    missing = vlar_command("eval", "zero-shot", "--data", ucf / "nowhere", "--dry-run")
    assert missing.code == 0
    assert "missing:" in missing.out


BASE = ["ApplyLipstick", "Archery"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"protocol": "base-to-novel",
             "settings": {"base": BASE, "novel": ["Archery", "BabyCrawling"], "shots": 1}},
            "base and novel share 1 of 2 labels ('Archery')",
        ),
        ({"protocol": "zero-shot", "hashes": {"testlist01.txt": "0" * 64}}, "is not the list"),
        ({"protocol": "zero-shot", "data": {"labels": ["Archery", "Diving"]}}, "'Diving'"),
        ({"protocol": "zero-shot", "settings": {"trained_on": ["archery"]}}, "'Archery'"),
        ({"protocol": "zero-shot", "expected": {"test": 4}}, "3 test where the card says 4"),
        ({"protocol": "few-shot", "settings": {"shots": [9]}}, "fewer than 9 training clips"),
        ({"protocol": "zero-shoot"}, "did you mean 'zero-shot'"),
        ({"protocol": "zero-shot", "modle": "lite"}, "unknown key 'modle'"),
        ({"protocol": "supervised", "settings": {"method": "protoype"}}, "'prototype'"),
        ({"protocol": "spans"}, "no start_s and end_s"),
        ({"protocol": "compositional"}, "a verb and an object"),
    ],
)  # fmt: skip
def test_what_is_not_honest_is_refused_in_one_line(
    vlar_command, ucf: Path, tmp_path: Path, content: dict[str, Any], says: str
):
    done = vlar_command("eval", card(tmp_path / "card.toml", **content), "--data", ucf)
    assert done.code == 2
    assert says in done.advice
    assert done.out == ""


def test_one_changed_line_of_a_split_file_is_refused(vlar_command, ucf: Path, tmp_path: Path):
    root = Path(shutil.copytree(ucf, tmp_path / "changed"))
    files = dict(read_dataset(root).files)
    named = card(tmp_path / "card.toml", protocol="zero-shot", hashes=files)
    assert vlar_command("eval", named, "--data", root, "--dry-run").code == 0
    file = root / "ucfTrainTestlist" / "testlist01.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1].replace("g01", "g02")]) + "\n")
    done = vlar_command("eval", named, "--data", root, "--dry-run")
    assert done.code == 2
    assert "testlist01.txt is not the list that card 'card' stands for" in done.advice


def test_splits_that_share_a_clip_are_refused(vlar_command, ucf: Path, tmp_path: Path):
    root = Path(shutil.copytree(ucf, tmp_path / "shared"))
    lists = root / "ucfTrainTestlist"
    test = (lists / "testlist01.txt").read_text().splitlines()[0]
    train = lists / "trainlist01.txt"
    train.write_text(train.read_text() + f"{test} 1\n")
    done = vlar_command("eval", "zero-shot", "--data", root, "--dry-run")
    assert done.code == 2
    assert "must be disjoint" in done.advice


def test_other_weights_than_the_cards_are_refused(vlar_command, ucf: Path, tmp_path: Path):
    named = card(tmp_path / "card.toml", protocol="zero-shot", fingerprint="0123abcd")
    done = vlar_command("eval", named, "--data", ucf)
    assert done.code == 2
    assert "load the right weights" in done.err


@pytest.mark.slow
def test_corruption_prints_its_table(vlar_command, ucf: Path):
    done = vlar_command(
        "eval", "corruption", "--data", ucf, "--set", 'names=["jpeg", "freeze"]',
        "--set", "severities=[1, 5]",
    )  # fmt: skip
    assert done.code == 0, done.err
    head = next(line for line in done.out.splitlines() if line.strip().startswith("corruption "))
    assert head.split() == ["corruption", "clean", "1", "5", "mean"]
    assert "falls first" in done.out or "no corruption takes top-1" in done.out


def test_without_data_it_asks_for_it(vlar_command):
    done = vlar_command("eval", "zero-shot")
    assert done.code == 2
    assert "--data" in done.advice
