"""Who moves: whole bodies, then limbs, then what moves without a body, then the largest body."""

# pyright: basic
from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.unit.people.made import T, track
from vlar.people.base import Boxes
from vlar.people.focus import who_moves


def moves(*tracks) -> Boxes:
    """Movement along tracks."""
    if not tracks:
        return Boxes.none()
    return Boxes(
        np.concatenate([each.boxes for each in tracks]),
        np.concatenate([each.scores for each in tracks]),
    )


def with_joints(body, swing: float):
    """A body whose left wrist swings by so many of its heights."""
    joints = np.zeros((T, 33, 3), np.float32)
    joints[..., :2] = body.centres[:, None]
    joints[..., 2] = 1.0
    joints[:, 15, 0] += swing * body.extent * np.sin(np.arange(T) / 2)
    joints[:, 13] = joints[:, 15]
    return replace(body, joints=joints)


LARGE, SMALL, ARM = track(40, tall=70), track(120, tall=30), track(45, 40, 10, 14)


def test_a_body_that_moves_as_a_whole_comes_first():
    assert who_moves([LARGE, SMALL], moves(track(121, tall=32)), T) is SMALL
    assert who_moves([LARGE, SMALL], moves(track(41, tall=66), track(121, tall=32)), T) is LARGE


def test_a_body_that_moves_a_limb_comes_next_and_a_still_one_does_not():
    waving, still = with_joints(LARGE, 0.3), with_joints(LARGE, 0.0)
    assert who_moves([waving], moves(ARM), T) is waving
    found = who_moves([still], moves(ARM), T)
    assert found is not None
    assert found is not still
    assert np.allclose(found.boxes, ARM.boxes)


def test_movement_elsewhere_or_for_a_moment_does_not_move_a_body():
    elsewhere = who_moves([LARGE], moves(SMALL), T)
    assert elsewhere is not None
    assert np.allclose(elsewhere.boxes, SMALL.boxes)
    moment = replace(SMALL, boxes=SMALL.boxes[:4], scores=SMALL.scores[:4])
    assert who_moves([LARGE], moves(moment), T) is LARGE


def test_without_movement_the_largest_body_is_taken():
    assert who_moves([SMALL, LARGE], moves(), T) is LARGE
    assert who_moves([], moves(), T) is None
