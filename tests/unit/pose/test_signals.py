"""Filters of signals equal those of scipy bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from vlar.pose import signals

SHAPES = [(1,), (2, 3), (7, 4, 2), (64,), (200, 3)]


@pytest.mark.parametrize("shape", [(0, 2), *SHAPES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smoothing_is_that_of_scipy(shape, dtype):
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(len(shape))
    for width in (0.0, 0.1, 0.7, 1.3, 6.0, 13.5):
        x = (rng.normal(size=shape) * 10 ** rng.uniform(-3, 3)).astype(dtype)
        mine = signals.smooth(x, width)
        theirs = ndimage.gaussian_filter1d(x, max(width, 1e-3), axis=0, mode="nearest")
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("shape", [(*shape[:1], 5, 2) for shape in SHAPES])
def test_spikes_leave_by_the_median_of_scipy(shape):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert signals.remove_spikes(x).tobytes() == ndimage.median_filter(x, (3, 1, 1)).tobytes()


def test_a_spike_leaves_and_a_step_stays():
    path = np.zeros((9, 1, 2))
    path[3], path[6:] = 5, 1
    expected = np.zeros((9, 1, 2))
    expected[6:] = 1
    assert np.array_equal(signals.remove_spikes(path), expected)
    assert np.array_equal(signals.remove_spikes(path, 9.0), path)
