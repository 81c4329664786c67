"""Parts of frames next to their features."""

from __future__ import annotations

import numpy as np
import pytest

from tests.clips import clips_of
from tests.refusals import refused
from tests.unit.training.fakes import FakeEncoder
from vlar.encoders.lite.towers import part_of
from vlar.encoders.protocols import WithRegions
from vlar.errors import UsageError
from vlar.model.model import Model


def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)


def test_the_only_part_of_a_frame_is_the_frame(lite_model: Model):
    encoder = lite_model.encoder
    pictures = np.repeat(frames()[:1], 4, axis=0)  # a moment's frames share one pass
    (whole,) = encoder.encode(clips_of(pictures[None]))
    wide = WithRegions(encoder, 1, 1)
    (row,) = wide.encode(clips_of(pictures[None]))
    own, parts = wide.split(row.features[None])
    np.testing.assert_array_equal(own[0], whole.features)
    np.testing.assert_array_equal(row.vector, whole.vector)
    objects = encoder.blocks[0].width
    vector = whole.vector[:objects] / np.linalg.norm(whole.vector[:objects])
    np.testing.assert_allclose(parts[0, 0, 0, :objects], vector, atol=1e-5)
    assert not parts[..., objects:].any()  # a part of a picture says nothing about bodies


def test_parts_are_where_they_are(lite_model: Model):
    wide = WithRegions(lite_model.encoder, 2, 2)
    left = frames()[:1].copy()
    left[:, :, 30:] = 128
    plain = np.full_like(left, 128)
    ours, theirs = (
        lite_model.encoder.encode_regions(pictures, 2, 2)[0] for pictures in (left, plain)
    )
    away = 1 - (ours * theirs).sum(axis=1)
    assert min(away[0], away[2]) > max(away[1], away[3])
    assert wide.frame_dim == lite_model.encoder.frame_dim + 4 * wide.dim
    assert wide.fingerprint != lite_model.fingerprint
    features = wide.encode(clips_of(frames()[None]))[0].features
    assert features.shape == (4, wide.frame_dim)
    np.testing.assert_array_equal(
        wide.pool(features[None]), lite_model.encoder.pool(wide.split(features[None])[0])
    )


@pytest.mark.parametrize("length", [1, 2, 7, 9])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_cover_a_side_evenly(length: int, count: int):
    parts = [part_of(length, count, number) for number in range(count)]
    assert parts[0].start == 0
    assert parts[-1].stop == length
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sizes[::-1]


def test_an_encoder_without_them_is_named():
    refused(UsageError, "'fake' has no patch tokens", WithRegions, FakeEncoder(), 2, 2)
