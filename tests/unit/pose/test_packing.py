"""Bodies and class probabilities in few bytes, and bytes of anybody."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from vlar.pose.features import POSE_WIDTH, features_from_tracks
from vlar.pose.packing import (
    MOST_FRAMES,
    pack_bodies,
    pack_scores,
    unpack_bodies,
    unpack_scores,
)
from vlar.pose.track import Tracks


def bodies(people: int = 2, frames: int = 32) -> np.ndarray:
    draw = np.random.default_rng(0)
    points = draw.normal(size=(people, 1, 33, 3)) + draw.normal(
        0, 0.01, (people, frames, 33, 3)
    ).cumsum(axis=1)
    points[..., 2] = draw.uniform(size=points.shape[:-1])
    tracks = Tracks(points.astype(np.float32), np.full((people, frames), 0.9, np.float32))
    rows = features_from_tracks(tracks, 7 + np.arange(frames) / 8, 16 / 9)
    rows[:-1, -6:-2] = draw.normal(0, 0.01, (frames - 1, 4))
    return rows


@pytest.mark.parametrize("people", [0, 1, 3])
def test_bodies_are_as_they_were_to_a_few_thousandths(people: int):
    rows = bodies(people)
    data = pack_bodies(rows)
    again = unpack_bodies(data)
    assert again is not None
    assert again.shape == rows.shape
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, rows, atol=0.003)
    assert len(data) < 6_000 * max(people, 0.1)


def test_a_photo_has_no_bodies_and_too_many_frames_are_not_kept():
    nothing = np.zeros((8, POSE_WIDTH), np.float32)
    again = unpack_bodies(pack_bodies(nothing))
    assert again is not None
    assert not again.any()
    assert again.shape == nothing.shape
    assert pack_bodies(nothing[:0]) == b""
    assert pack_bodies(np.zeros((MOST_FRAMES + 1, POSE_WIDTH), np.float32)) == b""


def test_bytes_of_anybody_are_no_bodies():
    data = pack_bodies(bodies(1))
    plain = zlib.decompress(data)
    infinite = plain[:7] + struct.pack("<f", np.inf) + plain[11:]
    broken = [b"", b"x", data[:-9], zlib.compress(plain[:-1]), zlib.compress(infinite)]
    broken += [zlib.compress(b"\xff" * (1 << 22)), zlib.compress(struct.pack("<BHf", 9, 1, 1.0))]
    assert [unpack_bodies(part) for part in broken] == [None] * len(broken)


def test_class_probabilities_are_those_of_the_window():
    logits = np.random.default_rng(0).normal(0, 3, (16, 1000)).astype(np.float32)
    data = pack_scores(logits, "0123456789abcdef00")
    assert len(data) < 1_100
    unpacked = unpack_scores(data)
    assert unpacked is not None
    made_by, scores = unpacked
    assert made_by == "0123456789abcdef"
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    again = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(again, mean, rtol=0.07)
    assert unpack_scores(b"12345678x") is None
    assert unpack_scores(b"") is None
    bomb = unpack_scores(b"12345678" + zlib.compress(bytes(1 << 24)))
    assert bomb is not None
    assert len(bomb[1]) == 1 << 15
