"""Synthetic events of videos: times and counts of crossings, and the mark that every result has."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import videos
from tests.command_line import invoke
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.media.video.sequential import FrameChunk
from vlar.methods.events.synthetic import events_between, write_events

DARK = 0.02


def chunk(grey: list[list[int]], times_s: list[float]) -> FrameChunk:
    """Grey frames of one row of pixels."""
    pixels = np.repeat(np.array(grey, np.uint8)[:, None, :, None], 3, axis=3)
    return FrameChunk(np.array(times_s), pixels)


def level(grey: float) -> float:
    return float(np.log(grey / 255 + DARK))


def slowly(grey: list[int], times_s: list[float], step: float) -> list[tuple[int, bool]]:
    """Crossings of one pixel, one after the other."""
    found = []
    last = level(grey[0])
    for (a, b), (s, e) in zip(pairwise(grey), pairwise(times_s), strict=True):
        start, end = level(a), level(b)
        while abs(end - last) >= step:
            last += step if end > last else -step
            found.append((round(1e6 * (s + (last - start) / (end - start) * (e - s))), end > start))
    return found


def test_events_are_crossings_that_are_linear_in_time():
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (30, 3)).tolist()
    times_s = np.cumsum(random.uniform(0.01, 0.05, 30)).tolist()
    parts = [chunk(grey[:7], times_s[:7]), chunk(grey[7:], times_s[7:])]
    for step in (0.2, 0.55):
        found = np.concatenate(list(events_between(parts, step)))
        assert (np.diff(found["t"]) >= 0).all()
        for x in range(3):
            own = found[found["x"] == x]
            wanted = slowly([row[x] for row in grey], times_s, step)
            assert len(own) == len(wanted) > 20
            np.testing.assert_allclose(own["t"], [t for t, _ in wanted], atol=2)
            assert own["p"].tolist() == [p for _, p in wanted]


def test_half_as_large_steps_give_twice_as_many_events_and_a_still_pixel_none():
    frames = [chunk([[10, 80], [250, 80]], [0.0, 1.0])]
    one, two = (np.concatenate(list(events_between(frames, step))) for step in (0.4, 0.2))
    assert len(one) == int((level(250) - level(10)) / 0.4)
    assert abs(len(two) - 2 * len(one)) <= 1
    assert set(two["x"]) == {0}
    assert two["p"].all()
    refused(UsageError, "above 0", list, events_between(frames, 0.0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of synthetic events: a bright square goes to the right, or to the left."""
    folder = tmp_path_factory.mktemp("made")
    for name, way in (("a right", 1), ("b right", 1), ("c left", -1), ("d left", -1)):

        def picture(number: int, way: int = way) -> np.ndarray:
            frame = np.full((48, 64, 3), 30, np.uint8)
            at = 4 + way * 2 * number if way > 0 else 48 - 2 * number
            frame[16:32, at : at + 12] = 220
            return frame

        label = folder / name.split()[1]
        label.mkdir(exist_ok=True)
        video = videos.make_video(
            folder / f"{name}.mp4", 20, fps=20, size=(64, 48), picture=picture
        )
        write_events(video, label / f"{name}.npz", side=24 if name[0] == "a" else 48)
    return folder


def test_a_video_is_a_recording_of_events(made: Path):
    small = vlar.read_clip(made / "right" / "a right.npz")
    clip = vlar.read_clip(made / "right" / "b right.npz")
    assert (small.meta["size"], clip.meta["size"]) == ((24, 32), (48, 64))
    assert clip.meta["synthetic"] is True
    assert 0.8 < clip.window.duration_s <= 0.96
    early, late = np.array_split(clip.data["x"].astype(float), 2)
    assert late.mean() > early.mean() + 10
    assert 0.2 < clip.data["p"].mean() < 0.8


def test_every_result_is_marked(made: Path, tmp_path: Path):
    model = vlar.load("events")
    answer = model.classify(made / "right" / "b right.npz", ["moving to the right", "still"])
    assert answer.predictions[0].label == "moving to the right"
    assert any(note.startswith("synthetic") for note in answer.notes)
    support = tmp_path / "rows.csv"
    rows = [f"{file},{file.parent.name}" for file in sorted(made.glob("*/*.npz"))]
    support.write_text("\n".join(["path,label", *rows]) + "\n")
    result = model.evaluate(support, ["left", "right"])
    assert result.settings["synthetic"] == 4
    assert "4 clips are synthetic" in result.summary()
    mine = model.adapt(support)
    assert mine.report.synthetic == mine.report.to_dict()["synthetic"] == 4
    assert "4 examples are synthetic" in mine.report.sentence()
    again = vlar.load(mine.save(tmp_path / "mine"))
    assert again.report.synthetic == 4
    with vlar.Library(tmp_path / "x.vlar", model) as library:
        library.add(made / "right")
        (hit, *_) = library.query("moving to the right")
        assert hit.tags == {"synthetic": "true"}


def test_the_command_writes_and_says_so(made: Path, tmp_path: Path):
    video, out = made / "a right.mp4", tmp_path / "out.npz"
    done = invoke(["events", str(video), "--out", str(out), "--json"])
    assert done.exit_code == 0
    row = json.loads(done.stdout)
    assert row["synthetic"] is True
    assert row["events"] == len(vlar.read_clip(out).data)
    for arguments, says in (
        ([str(made / "absent.mp4"), "--out", str(out)], "absent.mp4"),
        ([str(video), "--out", str(tmp_path / "no" / "out.npz")], "does not exist"),
    ):
        done = invoke(["events", *arguments])
        assert done.exit_code == 2
        assert says in done.stderr
    refused(DecodeError, "", write_events, tmp_path / "absent.mp4", out)
    refused(UsageError, "above 0", write_events, video, out, step=0.0)
    grey = np.full((48, 64, 3), 90, np.uint8)
    flat = videos.make_video(tmp_path / "flat.mp4", 4, picture=lambda _: grey, size=(64, 48))
    refused(UsageError, "does not change", write_events, flat, out)


def test_a_turned_video_gives_turned_events(tmp_path: Path):
    def picture(number: int) -> np.ndarray:
        frame = np.full((48, 64, 3), 30, np.uint8)
        frame[4:12, 4 + 2 * number : 16 + 2 * number] = 220  # in the upper part, to the right
        return frame

    plain = videos.make_video(tmp_path / "a.mp4", 12, fps=12, size=(64, 48), picture=picture)
    turned = videos.make_video(
        tmp_path / "b.mp4", 12, fps=12, size=(64, 48), picture=picture, rotation_deg=90
    )
    for video in (plain, turned):
        write_events(video, video.with_suffix(".npz"))
    one, other = (vlar.read_clip(tmp_path / f"{name}.npz") for name in "ab")
    assert (one.meta["size"], other.meta["size"]) == ((48, 64), (64, 48))
    assert len(one.data) == len(other.data)
    assert vlar.read_clip(turned, n_frames=1).data.shape[1:3] == (64, 48)
    # What was bright in the shown picture is where its events are.
    shown = vlar.read_clip(turned, n_frames=8).data.max(axis=(0, 3)) > 128
    rows, columns = np.nonzero(shown)
    assert abs(other.data["y"].mean() - rows.mean()) < 6
    assert abs(other.data["x"].mean() - columns.mean()) < 6
