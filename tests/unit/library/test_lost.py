"""The share of lost frames stands in every answer about a damaged recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.library.fakes import FakeModel, tiny_video
from vlar.library.library import Library
from vlar.library.rows import AddEvent
from vlar.media.video.decode import read_windows
from vlar.types import Clip, Sampling, Window


@pytest.fixture
def half_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of files named ``bad*`` that start at 2 s or later have half of their frames lost."""
    from dataclasses import replace

    from vlar.media.readers.video import VideoReader

    def read(_self: VideoReader, path: Path, windows: list[Window], sampling: Sampling):
        for clip in read_windows(path, windows, sampling.n_frames):
            assert isinstance(clip, Clip)
            is_bad = path.name.startswith("bad") and clip.window.start_s >= 2
            yield replace(clip, lost=0.5) if is_bad else clip

    monkeypatch.setattr(VideoReader, "read_windows", read)
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")


@pytest.mark.usefixtures("half_lost")
def test_hits_and_events_show_it(tmp_path: Path, model: FakeModel):
    good = tiny_video(tmp_path / "v" / "good.mp4", 1)
    bad = tiny_video(tmp_path / "v" / "bad.mp4", 2)
    events: list[AddEvent] = []
    with Library(tmp_path / "l.vlar", model) as library:
        library.add([good, bad], progress=events.append)
        shares = {event.path.name: event.lost for event in events if event.path is not None}
        assert shares == {"good.mp4": 0.0, "bad.mp4": pytest.approx(1 / 3)}
        for expression in ("walking", "walking AND running"):
            hits = library.query(expression, 100, min_probability=0)
            assert {hit.lost for hit in hits if hit.path.endswith("good.mp4")} == {0.0}
            assert max(hit.lost for hit in hits if hit.path.endswith("bad.mp4")) == 0.5
            assert all(hit.to_dict()["lost"] == hit.lost for hit in hits)


@pytest.mark.usefixtures("half_lost")
def test_a_copy_has_it_and_a_repaired_file_has_not(tmp_path: Path, model: FakeModel):
    bad = tiny_video(tmp_path / "v" / "bad.mp4", 2)
    copy = bad.with_name("other.mp4")
    copy.write_bytes(bad.read_bytes())
    with Library(tmp_path / "l.vlar", model) as library:
        library.add([bad, copy])
        (hit,) = library.query("walking", 1, min_probability=0)
        assert hit.lost == 0.5
        library.remove(bad)
        (hit,) = library.query("walking", 1, min_probability=0)
        assert (Path(hit.path).name, hit.lost) == ("other.mp4", 0.5)
        tiny_video(copy, 3)
        library.add(copy)
        assert {h.lost for h in library.query("walking", 9, min_probability=0)} == {0.0}


def test_encoded_spans_and_answers_show_it(lite_model):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    clip = Clip(Path("a"), Window(0, 1), "video", frames, np.array([0.0, 0.5]), lost=0.25)
    answer = lite_model.classify(clip, ["walking", "running"])
    assert answer.lost == 0.25
    assert answer.to_dict()["lost"] == 0.25
