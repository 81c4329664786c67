"""Real clips, where they are beside the checkout, equal plain sequential decoding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests import videos
from vlar.media.integrity.check import check_video
from vlar.media.video.decode import read_clip
from vlar.media.video.pixels import Converter
from vlar.media.video.sample import frame_times
from vlar.types import Window

SHARED = Path(os.environ.get("VLAR_SHARED", Path(__file__).parents[4] / "shared")) / "videos"
FILES = sorted(p for p in SHARED.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv", ".mpg", ".gif"))


@pytest.mark.skipif(not FILES, reason="no real clips beside the checkout")
@pytest.mark.parametrize("path", FILES[::16], ids=lambda p: p.name)
def test_equal_to_sequential_decoding(path: Path):
    times_s, frames = videos.decode_all(path)
    convert = Converter(None)
    for window in (None, Window(times_s[-1] * 0.31, times_s[-1] * 0.77)):
        clip = read_clip(path, window)
        wanted = frame_times(clip.window, 8)
        index = np.maximum(np.searchsorted(times_s, wanted + 1e-6, side="right") - 1, 0)
        np.testing.assert_allclose(clip.times_s, times_s[index])
        np.testing.assert_array_equal(clip.data, np.stack([convert(frames[i]) for i in index]))
        assert clip.lost == 0
    assert check_video(path).ok
