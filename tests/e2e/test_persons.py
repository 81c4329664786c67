"""``vlar index add --persons`` and queries about people on a made recording, without networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import videos
from tests.unit.people.made import scene


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = scene([(15, 2), (130, -1.5)], count=32)
    place = tmp_path_factory.mktemp("persons") / "two.mp4"
    return videos.make_video(place, 32, fps=16, size=(160, 96), picture=lambda n: frames[n])


def test_people_are_indexed_found_and_drawn(vlar_command, recording: Path, tmp_path: Path):
    library = tmp_path / "l.vlar"
    done = vlar_command("index", "add", library, recording, "--persons", "--detector", "motion")
    assert done.code == 0
    assert "1 new windows, 2 rows of people" in done.notes
    asked = ("query", library, "a red square", "--min-probability", "0", "--json")
    sheet = tmp_path / "s.png"
    done = vlar_command(*asked, "--who", "the person on the right", "--sheet", sheet)
    assert done.code == 0
    (hit,) = done.rows
    assert hit["box"][0] > 0.4
    assert hit["track"] in (1, 2)
    assert sheet.stat().st_size > 1000
    done = vlar_command("index", "add", library, recording, "--no-persons")
    assert done.code != 0
    assert "made with rows of people" in done.notes
    assert "Traceback" not in done.notes
