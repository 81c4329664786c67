"""People numbered over windows: one number for one person, whatever the windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlar.people.numbering import PersonNumbers
from vlar.people.people import People
from vlar.people.tracks import Track
from vlar.types import Clip, Window

SIZE = (100, 200)


def window(
    start_s: float, end_s: float, ways: dict[str, tuple[float, float]], scale: int = 1
) -> People:
    """People who stand at x = a + b t pixels; ``scale`` is how large the window was read."""
    times_s = np.linspace(start_s, end_s, 9)
    frames = np.zeros((9, SIZE[0] * scale, SIZE[1] * scale, 3), np.uint8)
    clip = Clip(Path("v.mp4"), Window(start_s, end_s), "video", frames, times_s)
    tracks = []
    for begin, speed in ways.values():
        x = (begin + speed * times_s) * scale
        y = np.full(9, 20.0 * scale)
        boxes = np.stack([times_s, x, y, x + 30 * scale, y + 70 * scale], axis=1)
        tracks.append(Track(boxes.astype(np.float32), np.ones(9, np.float32)))
    return People(clip, tracks)


ANN, BEN = (10.0, 2.0), (120.0, 0.0)


def test_overlapping_windows_share_numbers_in_any_order_of_people():
    numbers = PersonNumbers()
    assert numbers.of(window(0, 4, {"ann": ANN, "ben": BEN})) == [1, 2]
    assert numbers.of(window(2, 6, {"ben": BEN, "ann": ANN})) == [2, 1]
    assert numbers.of(window(4, 8, {"ann": ANN})) == [1]
    assert numbers.of(window(6, 10, {"ann": ANN, "ben": BEN})) == [1, 2]  # as they touch
    assert numbers.of(window(0, 16, {"ben": BEN, "ann": ANN})) == [2, 1]  # windows of another scale


def test_windows_read_at_another_size_share_numbers():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN, "ben": BEN}))
    assert numbers.of(window(2, 6, {"ann": ANN, "ben": BEN}, scale=3)) == [1, 2]


def test_windows_side_by_side_are_linked_over_a_short_gap():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN}))
    assert numbers.of(window(4.5, 8, {"ann": ANN})) == [1]
    assert numbers.of(window(20, 24, {"ann": ANN})) == [2]


def test_somebody_else_at_another_place_gets_a_new_number():
    numbers = PersonNumbers()
    numbers.of(window(0, 4, {"ann": ANN}))
    assert numbers.of(window(2, 6, {"ben": BEN})) == [2]


def test_nobody():
    assert PersonNumbers().of(window(0, 4, {})) == []
