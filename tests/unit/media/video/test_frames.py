"""Blank clips and thumbnails."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.media.video.frames import blank_clips, jpeg, thumbnail


def test_blank_clips_show_nothing_and_repeat():
    clips = blank_clips(3, 20, 30)
    assert clips.shape == (12, 3, 20, 30, 3)
    assert clips.dtype == np.uint8
    np.testing.assert_array_equal(clips, blank_clips(3, 20, 30))
    assert (clips[0] == 0).all()
    assert (clips[1] == 255).all()
    assert len({clip.tobytes() for clip in clips}) == 12


def test_the_picture_of_a_time(tmp_path: Path):
    video = videos.make_video(tmp_path / "a.mp4", size=(192, 128))
    shown = thumbnail(video, 1.01, 96)
    assert shown.size == (96, 64)
    assert videos.read_barcode(np.asarray(shown)) == 25
    assert thumbnail(video, 1.01, 400).size == (192, 128)
    part = thumbnail(video, 1.01, 192, box=(0, 0, 0.5, 0.25))  # 96 x 32, and 9.6 around it
    assert part.size == (106, 42)
    whole = np.asarray(thumbnail(video, 1.01, 192))
    np.testing.assert_array_equal(np.asarray(part), whole[:42, :106])
    assert videos.read_barcode(np.asarray(Image.open(io.BytesIO(jpeg(shown))))) == 25


def test_a_tall_video_is_as_wide_as_asked(tmp_path: Path):
    video = videos.make_video(tmp_path / "a.mp4", rotation_deg=90)
    assert thumbnail(video, 0.0, 32).size == (32, 48)


def test_faults(tmp_path: Path):
    refused(DecodeError, "no such file", thumbnail, tmp_path / "gone.mp4", 0.0)
    refused(UsageError, "width", thumbnail, tmp_path / "gone.mp4", 0.0, 0)
