"""Self-organising maps, growing grids, and the head of key postures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlar import registry
from vlar.encoders.base import FrameBlock
from vlar.errors import UsageError
from vlar.heads.signatures import signature
from vlar.methods.som.head import Som, topographic_error

BLOCKS = (FrameBlock("look", 12, "appearance"),)


@pytest.fixture(scope="module")
def plane():
    """Points of a bent plane in six dimensions."""
    u, v = np.random.default_rng(0).uniform(-1, 1, (2, 400))
    return np.stack([u, v, u * v, u**2, v**2, 0.1 * u], axis=1)


@pytest.mark.parametrize(("rate", "width"), [(0.5, 2.0), (0.02, 0.5), (1.0, 7.0)])
def test_a_step_is_the_equation(rate, width):
    random = np.random.default_rng(1)
    som = Som.of(random.normal(size=(4, 5, 3)))
    before, x = som.weights.copy(), random.normal(size=3)
    winner = som.update(x, rate, width)
    apart = np.square(before - x).sum(axis=2)
    row, column = np.unravel_index(apart.argmin(), apart.shape)
    assert winner == row * 5 + column
    for i in range(4):
        for j in range(5):
            pull = rate * np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * width**2))
            expected = before[i, j] + pull * (x - before[i, j])
            assert np.abs(som.weights[i, j] - expected).max() < 1e-12


@pytest.mark.parametrize("growing", [False, True])
def test_neighbours_lie_next_to_each_other_more_often_than_on_a_random_map(plane, growing):
    error = topographic_error(Som((7, 7), growing=growing).fit(plane), plane)
    random = topographic_error(Som((7, 7)).fit(plane, steps=0), plane)
    assert error < 0.5 * random


def test_a_growing_grid_grows_up_to_its_size_and_fits_better(plane):
    small, grown = (Som((n, n), growing=True).fit(plane) for n in (2, 6))
    rows, columns = grown.weights.shape[:2]
    assert small.weights.shape[:2] == (2, 2)
    assert 25 <= rows * columns <= 36
    near = [som.distances(plane).min(axis=1).mean() for som in (small, grown)]
    assert near[1] < 0.5 * near[0]


def test_the_seed_decides_the_map(plane):
    first, again, other = (Som((4, 4), seed=seed).fit(plane).weights for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(2, 4), st.integers(0, 50))
def test_speed_does_not_change_the_keys(frames, stretch, seed):
    random = np.random.default_rng(seed)
    som = Som.of(random.normal(size=(5, 6, 3)))
    clip = random.normal(size=(frames, 3))
    slow = np.repeat(clip, stretch, axis=0)
    assert np.array_equal(som.path(clip), som.path(slow))
    assert np.array_equal(som.keys(clip, 8), som.keys(slow, 8))
    assert som.keys(clip, 8).shape == (8, 2)
    assert (som.keys(clip, 8) >= 0).all()
    assert (som.keys(clip, 8) <= 1).all()


def test_a_movement_at_half_the_speed_passes_the_same_places(plane):
    """New frames between the old ones lie between their places."""
    som = Som((8, 8)).fit(plane)
    turn = np.linspace(0, np.pi, 60)

    def movement(angle):
        u, v = 0.8 * np.cos(angle), 0.8 * np.sin(angle)
        return np.stack([u, v, u * v, u**2, v**2, 0.1 * u], axis=1)

    slow = movement(np.linspace(0, np.pi, 120))
    keys, slow_keys = som.keys(movement(turn), 8), som.keys(slow, 8)
    backward = som.keys(movement(turn)[::-1], 8)
    assert np.abs(keys - slow_keys).max() < 0.05
    assert np.abs(keys - backward).max() > 0.3


def test_order_counts():
    """Two labels of the same postures in opposite order are told apart."""
    random = np.random.default_rng(2)
    steps = np.linspace(0, 1, 24)[:, None]
    ends = random.normal(size=(2, 12))
    forward = [
        ends[0] * (1 - steps) + ends[1] * steps + 0.02 * random.normal(size=(24, 12))
        for _ in range(8)
    ]
    clips = np.stack([*forward, *(clip[::-1] for clip in forward)]).astype(np.float32)
    y = ["forward"] * 8 + ["backward"] * 8
    head = registry.get("fewshot", "som")()
    head.kind = head.kinds[0]
    rows = signature(clips, BLOCKS, head.kind)
    shown = [0, 1, 2, 8, 9, 10]
    head.fit(rows[shown], [y[i] for i in shown])
    answers = [head.labels[i] for i in head.logits(rows).argmax(axis=1)]
    assert answers == y


@pytest.mark.parametrize(
    "make",
    [
        lambda: Som((0, 3)),
        lambda: Som((100, 100)),
        lambda: Som((2, 2)).fit(np.zeros((0, 3))),
        lambda: Som((2, 2)).fit([[np.nan, 1.0]]),
        lambda: Som.of(np.zeros((2, 2))),
        lambda: topographic_error(Som((2, 2)).fit([[0.0, 1.0]]), np.zeros((0, 2))),
        lambda: Som((2, 2)).fit([[0.0, 1.0]]).winners(np.zeros((2, 3))),
    ],
)
def test_what_is_not_a_map_is_refused(make):
    with pytest.raises(UsageError, match="give"):
        make()
