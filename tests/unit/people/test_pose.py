"""The second look of ``pose`` at what moves, with a stand-in for the networks."""

# pyright: basic
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.people.made import TIMES_S, scene, track
from vlar.people.detectors.pose import PoseDetector


def looking(sure):
    """A detector whose landmark network is as sure of a body as ``sure(region, call)`` says."""
    asked = []

    def landmarks(image, region):
        asked.append((image.size, region))
        return SimpleNamespace(score=sure(region, len(asked)))

    detector = PoseDetector.__new__(PoseDetector)
    detector._networks = (None, landmarks)
    return detector, asked


@pytest.mark.parametrize(("every", "is_body"), [(1, True), (3, True), (4, False), (100, False)])
def test_a_third_of_the_frames_must_show_a_body(every, is_body):
    detector, asked = looking(lambda region, call: 0.9 if call % every == 0 else 0.1)
    assert detector.confirms(scene([]), TIMES_S, track(60).boxes) is is_body
    assert len(asked) == 9


def test_it_looks_around_what_moves_where_that_is_at_the_time():
    detector, asked = looking(lambda region, call: 1.0)
    moving = track(40, 50, wide=20, tall=40, step=3)
    assert detector.confirms(scene([]), TIMES_S, moving.boxes[4:7])
    regions = [region for _, region in asked]
    assert [region.x for region in regions] == pytest.approx(moving.centres[4:7, 0].tolist())
    assert {round(region.size, 3) for region in regions} == {64.0}
    assert np.ptp([region.y for region in regions]) == 0
