"""Heat maps of joints."""

from __future__ import annotations

import numpy as np
import pytest

from tests.refusals import refused
from vlar.errors import UsageError
from vlar.methods.video_net.heatmap import heatmaps


@pytest.mark.parametrize("size", [(4, 6), (9, 5), (1, 1)])
def test_the_peak_is_one_at_the_pixel_whose_middle_is_nearest(size: tuple[int, int]):
    points = np.random.default_rng(0).uniform(0, 1, (3, 7, 2))
    maps = heatmaps(points, size, 1.5)
    assert maps.shape == (3, 7, *size)
    assert maps.dtype == np.float32
    middles_y, middles_x = (np.arange(length) + 0.5 for length in size)
    for frame in range(3):
        for joint in range(7):
            x, y = points[frame, joint] * size[::-1]
            wanted = np.abs(middles_y - y).argmin(), np.abs(middles_x - x).argmin()
            found = np.unravel_index(maps[frame, joint].argmax(), size)
            assert tuple(found) == tuple(wanted)
            assert maps[frame, joint].max() == 1


def test_it_falls_as_a_gaussian():
    (maps,) = heatmaps(np.array([[[0.5, 0.5]]]), (11, 11), 2.0)[0]
    assert maps[5, 5] == 1
    np.testing.assert_allclose(maps[5, 7], np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(maps[3, 7], np.exp(-1.0), rtol=1e-6)
    np.testing.assert_array_equal(maps, maps.T)


def test_a_joint_that_is_not_seen_is_zero():
    points = np.array([[[np.nan, 0.2], [0.1, np.nan], [0.0, 1.0]]])
    maps = heatmaps(points, (4, 4), 1.0)[0]
    assert not maps[:2].any()
    assert np.unravel_index(maps[2].argmax(), (4, 4)) == (3, 0)


@pytest.mark.parametrize(
    ("shape", "size", "sigma"),
    [((3, 2), (4, 4), 1.0), ((1, 1, 3), (4, 4), 1.0), ((1, 1, 2), (0, 4), 1.0),
     ((1, 1, 2), (4, 4), 0.0), ((1, 1, 2), (4, 4), float("nan"))],
)  # fmt: skip
def test_what_gives_no_map_is_refused(shape: tuple[int, ...], size: tuple[int, int], sigma: float):
    refused(UsageError, "shape|above 0", heatmaps, np.zeros(shape), size, sigma)
