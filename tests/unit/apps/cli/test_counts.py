"""One recording, one window: no verb writes "1 recordings"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import videos
from tests.command_line import invoke
from vlar.library.library import Library

PLURAL = re.compile(r"\b(?<![.,\d])1 (?:\w+ )?(?!s\b|is\b|has\b|was\b|this\b|less\b)\w+s\b(?! of)")
VERBS = [
    "index info LIBRARY",
    "index list LIBRARY",
    "index verify LIBRARY",
    "index compact LIBRARY",
    "index add LIBRARY CLIPS",
    "index export LIBRARY OUT.npz",
    pytest.param("query LIBRARY wave --min-probability 0 --yes 9", marks=pytest.mark.slow),
    pytest.param("query LIBRARY wave --min-probability 0 --explain", marks=pytest.mark.slow),
    pytest.param("classify CLIPS --labels wave,run --model lite", marks=pytest.mark.slow),
    "check CLIPS",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, lite_model) -> Path:
    folder = tmp_path_factory.mktemp("one")
    (folder / "clips").mkdir()
    videos.make_blank_video(folder / "clips" / "moving.mp4", 30, grey=180)
    with Library(folder / "one.vlar", lite_model) as library:
        assert library.add(folder / "clips").rows == 1
    return folder


def test_the_pattern_finds_a_wrong_plural():
    assert PLURAL.search("vlar: 1 recordings, 3 s")
    assert PLURAL.search("from 1 labelled spans")
    assert not PLURAL.search("1 recording, 0.1 seconds, 11 rows; 1 window of 4 s")


@pytest.mark.parametrize("verb", VERBS)
def test_one_is_written_in_the_singular(place: Path, verb: str):
    names = {
        "LIBRARY": place / "one.vlar", "CLIPS": place / "clips", "OUT.npz": place / "out.npz"
    }  # fmt: skip
    output = invoke([str(names.get(word, word)) for word in verb.split()]).output
    assert output.strip()
    assert "Usage" not in output
    assert not PLURAL.findall(output), output
