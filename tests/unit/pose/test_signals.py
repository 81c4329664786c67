"""Functions of sampled signals."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import find_peaks

from vlar.pose.signals import maxima, turning_points

LEVELS = st.integers(-4, 4).map(float)  # few levels: many plateaus and equal heights


@given(arrays(np.float64, st.integers(0, 40), elements=LEVELS), st.floats(0.0, 6.0))
def test_maxima_are_scipys_peaks(x: np.ndarray, prominence: float):
    assert maxima(x, prominence) == find_peaks(x, prominence=prominence)[0].tolist()


def test_a_wave_turns_twice_a_period():
    wave = np.sin(np.linspace(0, 6 * np.pi, 200))
    assert turning_points(wave, 0.5) == 6
    assert turning_points(wave, 2.5) == 0
