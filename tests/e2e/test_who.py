"""``vlar classify --who`` and ``--zoom`` on made recordings, without networks of bodies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from tests.unit.people.made import scene

LABELS = "a red square, a blue square"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("who")
    made = {"two": scene([(15, 2), (130, -1.5)], count=32), "still": scene([], count=32)}
    paths = {}
    for name, frames in made.items():
        paths[name] = videos.make_video(
            folder / f"{name}.mp4", 32, fps=16, size=(160, 96), picture=lambda n, f=frames: f[n]
        )
    return paths


def test_one_person_of_two_is_judged(vlar_command, recordings: dict[str, Path]):
    asked = ("--labels", LABELS, "--detector", "motion", "--json")
    done = vlar_command(
        "classify", *recordings.values(), *asked, "--who", "the person on the right"
    )
    assert done.code == 0
    two, still = done.rows
    assert (two["person"]["number"], two["person"]["of"]) == (2, 2)
    assert two["person"]["box"][0] > 0.4
    assert "person" not in still
    assert "the whole picture is judged" in still["notes"][0]


def test_a_person_who_is_not_there_ends_nothing(vlar_command, recordings: dict[str, Path]):
    done = vlar_command(
        *("classify", recordings["two"], recordings["still"], "--labels", LABELS, "--json"),
        *("--detector", "motion", "--who", "person 3"),
    )
    assert done.code == 1
    assert done.rows[0]["error"]["kind"] == "person"
    assert "2 people are found" in done.rows[0]["error"]["message"]
    assert "predictions" in done.rows[1]
    assert "Traceback" not in done.notes


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (("--who", "person 1", "--zoom", "auto"), "give one"),
        (("--who", "the dog"), "is not a person"),
    ],
)
def test_wrong_uses_end_before_a_model_is_loaded(vlar_command, recordings, wrong, reason: str):
    done = vlar_command("classify", recordings["two"], "--labels", LABELS, *wrong)
    assert done.code == 2
    assert reason in done.notes
