from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from vlar.media.video.decode import read_clip
from vlar.media.video.pixels import shrunk


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 3000))
def test_shrinking_keeps_the_aspect_and_never_enlarges(width: int, height: int, side: int):
    new_width, new_height = shrunk(width, height, side)
    assert 1 <= new_width <= width
    assert 1 <= new_height <= height
    assert min(new_width, new_height) == min(width, height, side)
    scale = min(1.0, side / min(width, height))
    assert abs(new_width - width * scale) <= 0.5
    assert abs(new_height - height * scale) <= 0.5


@pytest.mark.parametrize(
    ("side", "shape"), [(32, (32, 48)), (33, (33, 50)), (64, (64, 96)), (500, (64, 96))]
)
def test_shorter_side(tmp_path: Path, side: int, shape: tuple[int, int]):
    path = videos.make_video(tmp_path / "a.mp4", 30)
    clip = read_clip(path, None, 4, shorter_side=side)
    assert clip.data.shape == (4, *shape, 3)
    whole = read_clip(path, None, 4)
    numbers = [videos.read_barcode(frame) for frame in clip.data]
    assert numbers == [videos.read_barcode(frame) for frame in whole.data]


def test_shrinking_averages_areas(tmp_path: Path):
    stripes = np.zeros((96, 96, 3), dtype=np.uint8)
    stripes[::2] = 255
    path = videos.make_video(
        tmp_path / "a.mkv",
        2,
        size=(96, 96),
        codec="ffv1",
        pix_fmt="yuv444p",
        picture=lambda _: stripes,
    )
    small = read_clip(path, None, 1, shorter_side=24).data[0]
    assert np.abs(small.astype(int) - 127).max() <= 4


def test_a_turned_video_is_shrunk_by_its_shorter_side(tmp_path: Path):
    path = videos.make_video(tmp_path / "a.mp4", 2, rotation_deg=90)
    assert read_clip(path, None, 1, shorter_side=32).data.shape == (1, 48, 32, 3)
