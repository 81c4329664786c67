"""Cutting: a file begins and ends with the span."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.media.video.cut import cut
from vlar.media.video.source import probe

START_S, END_S, FPS = 0.9, 1.7, 25
KINDS = ("h264-b-frames.mp4", "h264-vfr.mkv", "h264-444-odd.mp4", "gif.gif", "mpeg2.ts")


def numbers(path: Path) -> list[int]:
    _, frames = videos.decode_all(path)
    return [videos.read_barcode(frame.to_ndarray(format="rgb24")) for frame in frames]


def with_tone(path: Path, from_s: float, duration_s: float = 2.4) -> Path:
    """A video whose sound is silent before a second and a tone after it."""
    rate, picture = 16000, videos.barcode(5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size = 12
        sound = container.add_stream("aac", rate=rate, layout="mono")
        for _ in range(round(duration_s * FPS)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
        times_s = np.arange(round(duration_s * rate)) / rate
        tone = np.where(times_s >= from_s, 9000 * np.sin(2 * np.pi * 600 * times_s), 0)
        for at in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(
                tone[None, at : at + 1024].astype(np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = rate, at
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def tone_begins_s(path: Path) -> float:
    with av.open(str(path)) as container:
        first_s = float(
            container.streams.video[0].start_time * container.streams.video[0].time_base
        )
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.1)
            if len(loud):
                return frame.time + loud[0] / frame.sample_rate - first_s
    raise AssertionError("no tone")


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_has_the_pictures_of_its_span(tmp_path: Path, name: str):
    source = videos.KINDS[name](tmp_path / name)
    made = cut(source, START_S, END_S, tmp_path / "out.mp4")
    assert made.start_s == START_S
    assert made.end_s == pytest.approx(END_S, abs=1 / 20)
    times_s, _ = videos.decode_all(source)
    every, found = numbers(source), numbers(made.path)
    shown = dict(zip(every, times_s, strict=True))
    for place, number in enumerate(found):  # on screen in the middle of each written frame
        at_s = START_S + (place + 0.5) * (made.end_s - START_S) / len(found)
        on_screen = every[np.searchsorted(times_s, at_s, side="right") - 1]
        assert abs(shown[number] - shown[on_screen]) < 0.041


def test_sound_stays_with_the_pictures(tmp_path: Path):
    source = with_tone(tmp_path / "tone.mp4", 1.2)
    made = cut(source, START_S, END_S, tmp_path / "out.mp4")
    assert made.audio == "kept"
    assert made.start_s + tone_begins_s(made.path) == pytest.approx(1.2, abs=0.05)


def test_any_recording_becomes_a_video(tmp_path: Path):
    folder = videos.make_frame_folder(tmp_path / "frames", 50)
    made = cut(folder, 0.4, 1.2, tmp_path / "frames.mp4")
    assert made.audio == "none"
    assert numbers(made.path) == list(range(10, 30))
    raw = videos.KINDS["h264-raw.h264"](tmp_path / "raw.h264")
    assert cut(raw, 0.4, 1.2, tmp_path / "raw.mkv").path == tmp_path / "raw.mp4"


def test_rotation_is_applied(tmp_path: Path):
    source = videos.make_video(tmp_path / "turned.mp4", rotation_deg=90)
    info = probe(cut(source, 0.5, 1.5, tmp_path / "out.mp4").path)
    assert (info.width, info.height, info.rotation_deg) == (64, 96, 0)


def test_faults_are_one_line_and_leave_no_file(tmp_path: Path):
    source = videos.make_video(tmp_path / "a.mp4")
    out = tmp_path / "out.mp4"
    refused(DecodeError, "no such file", cut, tmp_path / "moved.mp4", 0, 1, out)
    refused(DecodeError, "end of the video", cut, source, 60.0, 61.0, out)
    refused(UsageError, "replace the video itself", cut, source, 0, 1, source)
    refused(UsageError, "not a span", cut, source, 1, 1, out)
    refused(UsageError, "not writable", cut, source, 0, 1, tmp_path / "none" / "out.mp4")
    with pytest.raises(DecodeError):
        cut(videos.truncate(videos.make_video(tmp_path / "b.mp4"), 0.3), 0, 1, out)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
