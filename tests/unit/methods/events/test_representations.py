"""Representations of events: stated values, sums, and the same in every order."""

from __future__ import annotations

import numpy as np
import pytest

from tests import event_files
from tests.refusals import refused
from vlar.errors import UsageError
from vlar.methods.events.representations import (
    farthest,
    frames,
    points,
    surface,
    voxel,
)


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    return event_files.made(700, seed=3, size=(20, 30))


@pytest.fixture(scope="module")
def mixed(events: np.ndarray) -> np.ndarray:
    return events[np.random.default_rng(1).permutation(len(events))]


def one(x: int, y: int, t: float, p: int, t_type: str = "<i8") -> np.ndarray:
    return np.array([(x, y, t, p)], [("x", "<u2"), ("y", "<u2"), ("t", t_type), ("p", "<i1")])


@pytest.mark.parametrize("bins", [1, 5, 16])
def test_a_voxel_grid_has_the_sum_of_the_polarities(events, mixed, bins: int):
    grid = voxel(events, bins)
    assert grid.shape == (bins, 20, 30)
    assert grid.sum() == pytest.approx((2.0 * events["p"] - 1).sum(), abs=1e-4)
    np.testing.assert_allclose(voxel(mixed, bins), grid, atol=1e-5)
    assert voxel(events, bins, size=(40, 50)).shape == (bins, 40, 50)


def test_a_voxel_grid_shares_an_event_between_two_moments():
    three = np.concatenate([one(0, 0, 0, 1), one(1, 0, 30, -1), one(0, 0, 100, 1)])
    grid = voxel(three, 5, size=(1, 2))
    np.testing.assert_allclose(grid[:, 0, 1], [0, -0.8, -0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(grid[:, 0, 0], [1, 0, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize("by", ["time", "count"])
def test_frames_count_every_event_once(events, mixed, by: str):
    counts = frames(events, 7, by=by)
    assert counts.shape == (7, 2, 20, 30)
    assert counts.sum() == len(events)
    np.testing.assert_array_equal(frames(mixed, 7, by=by), counts)
    assert counts[:, 1].sum() == events["p"].sum()
    if by == "count":
        assert np.ptp(counts.sum(axis=(1, 2, 3))) <= 1
    else:
        early = events["t"] < events["t"].max() / 7
        assert counts[0].sum() == early.sum()
    assert frames(events[:0], 7, by=by, size=(2, 3)).sum() == 0


def test_a_surface_forgets():
    seen = np.concatenate([one(2, 1, 400_000, 1), one(2, 1, 100_000, 1), one(0, 0, 450_000, -1)])
    made = surface(seen, 0.5, 0.05, size=(3, 4))
    assert made.shape == (2, 3, 4)
    assert made[1, 1, 2] == pytest.approx(np.exp(-2), abs=1e-6)
    assert made[0, 0, 0] == pytest.approx(np.exp(-1), abs=1e-6)
    assert np.count_nonzero(made) == 2
    # What happens later counts for nothing.
    assert surface(seen, 0.2, 0.1, size=(3, 4))[1, 1, 2] == pytest.approx(np.exp(-1), abs=1e-6)
    np.testing.assert_array_equal(surface(seen[::-1], 0.5, 0.05, size=(3, 4)), made)
    seconds = one(2, 1, 0.4, 1, "<f8")
    assert surface(seconds, 0.5, 0.05)[1, 1, 2] == pytest.approx(np.exp(-2), abs=1e-6)


def test_farthest_points_of_a_line():
    line = np.array([[value, 0, 0] for value in (0, 3, 5, 8, 10)], float)
    assert line[farthest(line, 3), 0].tolist() == [0, 10, 5]
    assert farthest(line, 3).dtype == np.int64
    # Two ends are as far from the mean: the smaller one is first.
    even = np.array([[4.0, 1, 1], [0, 1, 1], [2, 1, 1]])
    assert farthest(even, 3).tolist() == [1, 0, 2]
    same = np.ones((4, 3))
    assert sorted(farthest(same, 4)) == [0, 1, 2, 3]


def test_farthest_points_do_not_depend_on_the_order():
    random = np.random.default_rng(5)
    cloud = random.integers(0, 6, (200, 3)).astype(float)  # many ties
    order = random.permutation(200)
    np.testing.assert_array_equal(
        cloud[farthest(cloud, 50)], cloud[order][farthest(cloud[order], 50)]
    )


@pytest.mark.parametrize("n", [64, 700, 900])
def test_points_are_a_set_of_the_events(events, mixed, n: int):
    found = points(events, n, 0)
    assert found.shape == (n, 4)
    assert np.abs(found).max() <= 1
    assert (np.diff(found[:, 2]) >= 0).all()
    np.testing.assert_array_equal(points(mixed, n, 0), found)
    assert set(found[:, 3]) == {-1, 1}
    assert points(events, n, 0, size=(100, 100)).max(axis=0)[0] < 0
    if n == 64:
        assert not np.array_equal(points(events, n, 1), found)
        assert len(np.unique(found, axis=0)) == n


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda e: voxel(e, 3, size=(10, 10)), "beyond the size"),
        (lambda e: voxel(e[:0], 3), "the size is unknown"),
        (lambda e: voxel(e, 0), "bins is 0"),
        (lambda e: frames(e, 3, by="chance"), "by='count'"),
        (lambda e: surface(e, 1.0, 0.0), "above 0"),
        (lambda e: points(e[:0], 3, 0, size=(9, 9)), "none is given"),
        (lambda e: farthest(np.ones((3, 3)), 4), "k of 1 to L"),
    ],
)
def test_refused(events, call, says: str):
    refused(UsageError, says, call, events)
