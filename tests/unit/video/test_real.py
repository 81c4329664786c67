"""Real clips, where they are beside the checkout, equal plain sequential decoding."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from vlar.types import Window
from vlar.video import check_video, frame_times, read_clip
from vlar.video.pixels import Converter

SHARED = Path(os.environ.get("VLAR_SHARED", Path(__file__).parents[4] / "shared")) / "videos"
FILES = sorted(p for p in SHARED.rglob("*") if p.suffix in (".mp4", ".avi", ".mkv", ".mpg", ".gif"))


@pytest.mark.skipif(not FILES, reason="no real clips beside the checkout")
@pytest.mark.parametrize("path", FILES[::16], ids=lambda p: p.name)
def test_equal_to_sequential_decoding(path: Path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert stream.time_base is not None
        # AVI stores no presentation times; where frames are reordered only decoding times hold.
        by_dts = container.format.name == "avi" and stream.codec_context.has_b_frames
        stamps = [frame.dts if by_dts else frame.pts for frame in frames]
        for index, stamp in enumerate(stamps):
            stamps[index] = stamps[index - 1] + 1 if stamp is None else stamp
        times_s = (np.array(stamps) - stamps[0]) * float(stream.time_base)
    convert = Converter(None)
    for window in (None, Window(times_s[-1] * 0.31, times_s[-1] * 0.77)):
        clip = read_clip(path, window)
        wanted = frame_times(clip.window, 8)
        index = np.maximum(np.searchsorted(times_s, wanted + 1e-6, side="right") - 1, 0)
        np.testing.assert_allclose(clip.times_s, times_s[index])
        np.testing.assert_array_equal(clip.frames, np.stack([convert(frames[i]) for i in index]))
        assert clip.lost == 0
    assert check_video(path).ok
