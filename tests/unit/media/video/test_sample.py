from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlar.errors import UsageError
from vlar.media.video.sample import frame_times, windows
from vlar.types import Window

seconds = st.floats(0.0, 10_000.0)
spans = st.floats(0.05, 500.0)


@given(seconds, seconds, st.integers(1, 64))
def test_frame_times_are_midpoints_of_equal_segments(a: float, b: float, n_frames: int):
    window = Window(min(a, b), max(a, b))
    times = frame_times(window, n_frames)
    assert times.shape == (n_frames,)
    assert times.dtype == np.float64
    assert (times >= window.start_s).all()
    assert (times <= window.end_s).all()
    edges = np.linspace(window.start_s, window.end_s, n_frames + 1)
    np.testing.assert_allclose(times, (edges[:-1] + edges[1:]) / 2, atol=1e-9 * (1 + window.end_s))


@given(st.floats(0.0, 2000.0), spans, spans)
def test_windows_cover_the_video_without_slivers(
    duration_s: float, window_s: float, stride_s: float
):
    found = windows(duration_s, window_s, stride_s)
    assert found[0].start_s == 0.0
    if duration_s <= window_s:
        assert found == [Window(0.0, duration_s)]
        return
    starts = [w.start_s for w in found]
    assert starts == sorted(set(starts))
    for window in found:
        assert window.start_s >= 0
        assert window.end_s <= duration_s + 1e-9
        assert math.isclose(window.duration_s, window_s, rel_tol=1e-6, abs_tol=1e-6)
    assert duration_s - found[-1].end_s <= 0.01 * window_s + 1e-9
    for before, after in pairwise(found[:-1]):
        assert math.isclose(after.start_s - before.start_s, stride_s, rel_tol=1e-6)
    assert found[-1].start_s - found[-2].start_s <= stride_s * (1 + 1e-6) if found[1:] else True


def test_a_whole_number_of_strides_adds_no_tail():
    for duration_s in (0.3, 0.3 - 1e-12, 0.3 + 1e-12, 3 * 0.1):
        assert len(windows(duration_s, 0.1, 0.1)) == 3
    assert len(windows(10.0, 4.0, 2.0)) == 4


@pytest.mark.parametrize(
    ("duration_s", "window_s", "stride_s"),
    [
        (10, 0, 1),
        (10, 1, 0),
        (10, -1, 1),
        (-1, 1, 1),
        (math.nan, 1, 1),
        (10, math.inf, 1),
        (1e9, 1, 1e-3),
    ],
)
def test_windows_refuse_what_is_no_span(duration_s: float, window_s: float, stride_s: float):
    with pytest.raises(UsageError):
        windows(duration_s, window_s, stride_s)


@pytest.mark.parametrize(
    ("window", "n_frames"),
    [(Window(0, 1), 0), (Window(2, 1), 4), (Window(0, math.nan), 4), (Window(-math.inf, 0), 4)],
)
def test_frame_times_refuse_what_is_no_span(window: Window, n_frames: int):
    with pytest.raises(UsageError):
        frame_times(window, n_frames)
