"""Clips that show nothing are the same every time."""

from __future__ import annotations

import numpy as np

from vlar.media.video.frames import blank_clips


def test_blank_clips_show_nothing_and_repeat():
    clips = blank_clips(3, 20, 30)
    assert clips.shape == (12, 3, 20, 30, 3)
    assert clips.dtype == np.uint8
    np.testing.assert_array_equal(clips, blank_clips(3, 20, 30))
    assert (clips[0] == 0).all()
    assert (clips[1] == 255).all()
    assert len({clip.tobytes() for clip in clips}) == 12
