from __future__ import annotations

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vlar.pose import networks

from .conftest import cache_but

LABELS = "street traffic, a man talking, a cartoon rabbit, playing the piano"


def test_json_lines_are_as_designed(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    table = tmp_path / "answers.csv"
    done = vlar_command(
        *("classify", *sparse_clips.values(), "--labels", LABELS, "--top", 2, "--json"),
        *("--csv", table),
    )
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["label"] for row in rows] == [r["predictions"][0]["label"] for r in done.rows]
    assert done.code == 0
    assert done.notes == ""
    assert [row["path"] for row in done.rows] == [str(path) for path in sparse_clips.values()]
    for row in done.rows:
        assert list(row) == [
            "path", "start_s", "end_s", "model", "predictions", "unknown", "unknown_probability",
            "lost",
        ]  # fmt: skip
        assert row["lost"] == 0.0
        assert len(row["predictions"]) == 2
        assert row["start_s"] == 0.0
        assert row["model"] == "lite"
        probabilities = [p["probability"] for p in row["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) + row["unknown_probability"] <= 1.00001


@pytest.fixture(scope="module")
def real(vlar_command, demo_clips: dict[str, Path]) -> dict[str, Any]:
    """The answers for the clips at full rate, by name."""
    done = vlar_command("classify", *demo_clips.values(), "-l", LABELS, "--json")
    return {Path(row["path"]).stem: row for row in done.rows}


def test_real_clips_are_recognised(real: dict[str, Any]):
    best = {name: row["predictions"][0]["label"] for name, row in real.items()}
    assert best == {
        "bikes": "street traffic",
        "carphone_pristine": "a man talking",
        "bigbuckbunny": "a cartoon rabbit",
    }


def test_python_gives_what_the_command_gives(real: dict[str, Any], demo_clips: dict[str, Path]):
    import vlar

    labels = [label.strip() for label in LABELS.split(",")]
    answer = vlar.load().classify(demo_clips["carphone_pristine"], labels)
    assert json.loads(json.dumps(answer.to_dict())) == real["carphone_pristine"]


def test_a_folder_is_searched(vlar_command, sparse_clips: dict[str, Path]):
    folder = sparse_clips["bikes"].parent
    done = vlar_command("classify", folder, "-l", LABELS, "--json")
    assert {row["path"] for row in done.rows} == {str(path) for path in sparse_clips.values()}


def test_every_gives_a_timeline(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", LABELS, "--every", "2s", "--json")
    spans = [(row["start_s"], row["end_s"]) for row in done.rows]
    assert len(spans) > 3
    assert spans[0] == (0.0, 2.0)
    for (_, end_s), (start_s, _) in pairwise(spans):
        assert start_s == pytest.approx(end_s, abs=1e-3)


def test_text_output_names_the_answer(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", LABELS, "--top", 1)
    assert done.code == 0
    verdict, best, unknown = done.out.splitlines()
    assert verdict.startswith(str(sparse_clips["bikes"]))
    assert re.search(r"  street traffic, \d+ %$", verdict)
    assert "street traffic" in best
    assert "%" in best
    assert "(unknown)" in unknown


@pytest.mark.parametrize("label", ["street traffic", "knitting"])
def test_text_output_answers_one_label_with_yes_or_no(vlar_command, sparse_clips, label: str):
    asked = ("classify", sparse_clips["bikes"], "-l", label)
    word = vlar_command(*asked, "--json").rows[0]["verdict"]
    (line,) = vlar_command(*asked).out.splitlines()
    texts = {"yes": rf"yes: {label} \(\d+ %\)"}
    assert re.search(texts.get(word, rf'{word} \(\d+ % for "{label}"\)') + "$", line)


def test_text_output_says_that_nothing_fits(vlar_command, sparse_clips):
    done = vlar_command("classify", sparse_clips["bikes"], "-l", "knitting, chess")
    assert "  unknown: nothing in the list fits (best: " in done.out.splitlines()[0]


def test_same_answer_alone_and_in_a_batch(vlar_command, sparse_clips: dict[str, Path]):
    clips = [sparse_clips["bigbuckbunny"], sparse_clips["carphone_pristine"]]
    together = vlar_command("classify", *clips, "-l", LABELS, "--json")
    alone = [vlar_command("classify", clip, "-l", LABELS, "--json") for clip in clips]
    assert together.out == "".join(done.out for done in alone)


def test_bank_as_labels(vlar_command, sparse_clips: dict[str, Path]):
    done = vlar_command(
        "classify",
        sparse_clips["carphone_pristine"],
        "-l",
        "bank:hmdb51",
        "--top",
        3,
        "--json",
    )
    assert done.code == 0
    assert len(done.rows[0]["predictions"]) == 3


def without_bodies(folder: Path) -> tuple[str, str]:
    """Prefix of a command that finds no lite-motion, as one who just installed vlar."""
    cache = cache_but(folder / "cache", networks.lite_motion().folder.name, "lite-motion-offered")
    return "env", f"VLAR_CACHE={cache}"


def test_lite_motion_is_offered_once(vlar_command, sparse_clips: dict[str, Path], tmp_path: Path):
    fresh = without_bodies(tmp_path)
    first = vlar_command("classify", sparse_clips["carphone_pristine"], "-l", LABELS, prefix=fresh)
    assert first.err.count("vlar models get lite-motion") == 1
    second = vlar_command("classify", sparse_clips["carphone_pristine"], "-l", LABELS, prefix=fresh)
    assert second.notes == ""
    assert first.out == second.out


def needs_bodies() -> None:
    if not networks.is_installed():
        pytest.skip("lite-motion was not fetched")


def test_explain_says_what_was_understood_and_what_decided(vlar_command, real_videos: Path):
    needs_bodies()
    clip = next((real_videos / "weizmann" / "walk").iterdir())
    labels = "she walked off, perambulating on foot, quantum chromodynamics"
    done = vlar_command("classify", clip, "-l", labels, "--explain", "--json")
    assert done.code == 0
    assert len(done.rows) == 1
    walked, like, unknown, decided = done.notes.splitlines()
    assert walked.startswith("vlar: 'she walked off' is 'walk")
    assert "is like '" in like
    assert unknown == "vlar: 'quantum chromodynamics' says nothing of motion"
    best = done.rows[0]["predictions"][0]["label"]
    assert decided.startswith(f"vlar: {clip}: {best!r}: objects ")
    assert "travel +" in decided


def test_explain_without_bodies_says_so(
    vlar_command, sparse_clips: dict[str, Path], tmp_path: Path
):
    fresh = without_bodies(tmp_path)
    done = vlar_command(
        "classify", sparse_clips["carphone_pristine"], "-l", LABELS, "--explain", prefix=fresh
    )
    assert done.code == 0
    assert "no motion is read from labels here (vlar models get lite-motion)" in done.err
    assert done.err.count("no motion is read") == 1
