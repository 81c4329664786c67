"""Verbs with objects as commands: learn pairs, ask about others, search by both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import videos

PAIRS = [("open", "door"), ("open", "box"), ("close", "door"), ("close", "box")]
UNSEEN = ("close", "box")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Doors are grey and boxes are striped; opening grows brighter, closing darker."""
    place, rows = tmp_path_factory.mktemp("compositions"), ["path,verb,object"]
    (place / "clips").mkdir()
    for verb, noun in PAIRS:
        for turn in range(3):

            def picture(number: int, verb=verb, noun=noun, turn=turn) -> np.ndarray:
                level = 60 + 30 * (number if verb == "open" else 3 - number) + 4 * turn
                shown = np.full((64, 96, 3), level, np.uint8)
                if noun == "box":
                    shown[:, ::8] = 255 - level
                return shown

            name = f"clips/{verb}_{noun}_{turn}.mp4"
            videos.make_video(place / name, 4, picture=picture)
            if (verb, noun) != UNSEEN:
                rows.append(f"{name},{verb},{noun}")
    (place / "pairs.csv").write_text("\n".join(rows))
    (place / "verbs.txt").write_text("open\nclose\n")
    (place / "objects.txt").write_text("door\nbox\n")
    (place / "verbs_only.csv").write_text("path,verb\nclips/open_door_0.mp4,open\nx.mp4,close\n")
    return place


def test_every_verb_with_every_object_on_any_model(vlar_command, place: Path):
    clip = place / "clips" / "open_door_0.mp4"
    done = vlar_command(
        "classify", clip, "--pairs", place / "verbs.txt", place / "objects.txt", "--json"
    )
    assert done.code == 0, done.err
    (row,) = done.rows
    assert {p["label"] for p in row["predictions"]} == {f"{verb} {noun}" for verb, noun in PAIRS}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--pairs", "open", "box", "--labels", "run"), "--labels and --pairs exclude each other"),
        (("--pairs", "open", "missing.txt"), "'missing.txt' does not exist"),
    ],
)
def test_lists_that_cannot_be_pairs(vlar_command, place: Path, arguments, reason: str):
    done = vlar_command("classify", place / "clips" / "open_door_0.mp4", *arguments)
    assert done.code == 2
    assert reason in done.advice


def test_verbs_without_objects_are_refused(vlar_command, place: Path):
    done = vlar_command(
        "adapt", place / "verbs_only.csv", "--method", "c2c", "--out", place / "none"
    )
    assert done.code == 2
    assert "have no 'object'; give a CSV with the columns path,verb,object" in done.advice
    assert not (place / "none").exists()


@pytest.mark.slow
def test_pairs_are_learned_saved_asked_and_searched(vlar_command, place: Path):
    done = vlar_command(
        "adapt", place / "pairs.csv", "--method", "c2c", "--out", place / "m", "--json"
    )
    assert done.code == 0, done.err
    assert done.rows[-1]["training"]["method"] == "c2c"
    manifest = json.loads((place / "m" / "vlar.json").read_text())
    assert manifest["adapter"]["settings"]["verbs"] == ["close", "open"]
    clip = place / "clips" / "close_box_0.mp4"
    (row,) = vlar_command("classify", clip, "--model", place / "m", "--json").rows
    assert "close box" in {p["label"] for p in row["predictions"]}
    named = vlar_command(
        "classify", clip, "--model", place / "m", "--pairs", "open, hide", "box, cup", "--json"
    )
    assert {p["label"] for p in named.rows[0]["predictions"]} == {
        "open box", "open cup", "hide box", "hide cup"
    }  # fmt: skip
    wrong = vlar_command("classify", clip, "--model", place / "m", "--labels", "dance, open box")
    assert wrong.code == 2
    assert "'dance' is not a pair of them" in wrong.advice
    added = vlar_command("index", "add", place / "l.vlar", place / "clips", "--model", place / "m")
    assert added.code == 0, added.err
    found = vlar_command("query", place / "l.vlar", "[verb=close object=box]", "-k", "3", "--json")
    assert found.code == 0, found.err
    assert all(0 <= hit["probability"] <= 1 for hit in found.rows)
    assert found.rows
