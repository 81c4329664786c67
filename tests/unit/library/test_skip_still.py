"""``skip_still``: nothing that moves is lost, still footage is counted, nothing is read twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.unit.library.fakes import FakeModel
from vlar.library.ingest.reader import uncovered_s
from vlar.library.library import Library
from vlar.media.video.frames import is_still, movement
from vlar.types import Window


class EightFrames(FakeModel):
    n_frames = 8


def noisy(level: float, seed: int = 0) -> np.ndarray:
    """(8, 96, 128, 3) of one picture with the noise of a sensor."""
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (24, 32, 3)).repeat(4, 0).repeat(4, 1).astype(np.float64)
    return (picture + random.normal(0, level, (8, 96, 128, 3))).clip(0, 255).astype(np.uint8)


def test_noise_is_still_and_a_small_thing_that_moves_is_not():
    assert movement(noisy(0)) == 0
    assert is_still(noisy(4))
    frames = noisy(4)
    for time in range(8):
        frames[time, 40:56, 8 + 10 * time : 24 + 10 * time] = 255 - frames[time, 40, 8, 0]
    assert not is_still(frames)
    slow = noisy(0)
    for time in range(8):
        slow[time] = (slow[time] * (1 - 0.04 * time)).astype(np.uint8)
    assert not is_still(slow)
    assert not is_still(noisy(0)[:2])


@pytest.fixture(scope="module")
def half_still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds in which nothing moves, then eight of a moving bar."""

    def picture(number: int) -> np.ndarray:
        pixels = np.full((64, 96, 3), 90, np.uint8)
        at = max(number - 32, 0) * 2 % 80
        pixels[20:44, at : at + 16] = 240
        return pixels

    path = tmp_path_factory.mktemp("still") / "half.mp4"
    return videos.make_video(path, 64, fps=4, codec="mpeg4", picture=picture)


def test_still_windows_are_left_out_and_counted(half_still: Path, tmp_path: Path):
    whole = Library(tmp_path / "whole.vlar", EightFrames())
    assert whole.add(half_still).still_windows == 0
    moving = Library(tmp_path / "moving.vlar", EightFrames())
    report = moving.add(half_still, skip_still=True)
    assert report.rows + report.still_windows == whole.info().rows == 7
    assert report.still_windows == 3
    assert report.still_s == pytest.approx(6.0)
    assert min(row["start_s"] for row in rows(moving)) == 6.0
    assert moving.add(half_still, skip_still=True).unchanged == 1


def rows(library: Library) -> list[dict[str, float]]:
    store = library._connection.reader()
    assert store is not None
    return [{"start_s": start} for (start,) in store.fetch("SELECT start_s FROM rows")]


def test_a_still_recording_keeps_one_window(tmp_path: Path):
    path = videos.make_blank_video(tmp_path / "blank.mp4", 250, grey=120)
    library = Library(tmp_path / "l.vlar", EightFrames())
    report = library.add(path, skip_still=True)
    assert (report.added, report.rows, report.failed) == (1, 1, ())
    assert report.still_s == pytest.approx(6.0)


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda s: Window(s[0], s[0] + s[1])),
    max_size=6,
)


@given(SPANS, SPANS)
def test_uncovered_seconds_are_those_of_the_clock(spans: list[Window], cover: list[Window]):
    def seconds(windows: list[Window]) -> set[int]:
        return {t for w in windows for t in range(int(w.start_s), int(w.end_s))}

    assert uncovered_s(spans, cover) == len(seconds(spans) - seconds(cover))
