"""Thumbnails show the picture on screen at their time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import videos
from vlar.errors import DecodeError, UsageError
from vlar.media.video.frames import jpeg, thumbnail


def test_the_picture_of_a_time(tmp_path: Path):
    video = videos.make_video(tmp_path / "a.mp4", size=(192, 128))
    shown = thumbnail(video, 1.01, 96)
    assert shown.size == (96, 64)
    assert videos.read_barcode(np.asarray(shown)) == 25
    assert thumbnail(video, 1.01, 400).size == (192, 128)
    assert videos.read_barcode(np.asarray(Image.open(io.BytesIO(jpeg(shown))))) == 25


def test_a_tall_video_is_as_wide_as_asked(tmp_path: Path):
    video = videos.make_video(tmp_path / "a.mp4", rotation_deg=90)
    assert thumbnail(video, 0.0, 32).size == (32, 48)


def test_faults(tmp_path: Path):
    with pytest.raises(DecodeError, match="no such file"):
        thumbnail(tmp_path / "gone.mp4", 0.0)
    with pytest.raises(UsageError, match="width"):
        thumbnail(tmp_path / "gone.mp4", 0.0, 0)
