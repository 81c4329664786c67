"""Numbers of fixed clips, so that nobody changes what features mean without saying so.

Libraries and saved models hold such numbers and are told apart by fingerprints, which cover these
versions. Where a test below fails and the change is meant: count the VERSION up, then put in the
new numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from tests.clips import clips_of
from tests.unit.encoders.lite.test_motion import _clip
from tests.unit.pose.figure import Figure, walker
from tests.unit.pose.test_features import camera_steps, moving_texture, rows
from vlar.encoders.lite import encoder
from vlar.encoders.lite import encoder as lite_motion
from vlar.model.model import Model
from vlar.pose import features


def digest(numbers: np.ndarray) -> list[float]:
    """Four numbers that change with any of many: products with fixed random directions."""
    flat = np.asarray(numbers, np.float64).ravel()
    directions = np.random.default_rng(5).normal(size=(4, len(flat))) / np.sqrt(len(flat))
    return (directions @ flat).tolist()


def histograms() -> np.ndarray:
    path = np.array([(40 + 5 * t, 60 + 8 * np.sin(t)) for t in range(8)])
    return np.concatenate([lite_motion.motion_features(_clip(path), step) for step in (1, 2)])


def bodies() -> np.ndarray:
    people = rows(walker(1.0, 1.8), Figure(n_frames=48, x=1.0, pitch=30.0))
    return 20 * np.concatenate([features.motion_vector(people), 3 * features.spectrum(people)])


def camera() -> np.ndarray:
    return 60 * camera_steps(moving_texture((1.5, 0.5)))


@pytest.mark.parametrize(
    ("module", "version", "measured", "numbers"),
    [
        (lite_motion, 2, histograms, [-1.3732, -0.5621, 4.8478, 6.3642]),
        (features, 5, bodies, [1.946, 7.9614, 0.8466, 0.6941]),
        (features, 5, camera, [0.0893, -0.2054, 1.2362, -1.3583]),
    ],
)
def test_features_change_only_with_their_version(
    module: ModuleType, version: int, measured: Callable[[], np.ndarray], numbers: list[float]
):
    assert version == module.VERSION, "put in the numbers of the new version"
    np.testing.assert_allclose(
        digest(measured()), numbers, atol=2e-3, err_msg="count VERSION up, then renew the numbers"
    )


def test_the_fingerprint_covers_the_versions(lite_model: Model, monkeypatch: pytest.MonkeyPatch):
    before = lite_model.encoder
    assert isinstance(before, encoder.LiteEncoder)
    prints = before.block_fingerprints()
    monkeypatch.setattr(encoder, "VERSION", -1)
    after = encoder.LiteEncoder()
    assert after.fingerprint != before.fingerprint
    assert after.block_fingerprints() == prints
    monkeypatch.undo()
    if before.body is None:
        pytest.skip("lite-motion was not fetched")
    monkeypatch.setattr("vlar.encoders.lite.body.VERSION", -1)
    other = encoder.LiteEncoder().block_fingerprints()
    assert other["objects"] == prints["objects"]
    assert other["motion"] != prints["motion"]


def test_bodies_leave_the_objects_of_a_clip_as_they_were(
    lite_model: Model, monkeypatch: pytest.MonkeyPatch
):
    """What lets old libraries keep their objects."""
    whole = lite_model.encoder
    assert isinstance(whole, encoder.LiteEncoder)
    if whole.body is None:
        pytest.skip("lite-motion was not fetched")
    monkeypatch.setattr(encoder, "load_body", lambda *_: None)
    alone = encoder.LiteEncoder()
    assert alone.n_frames == whole.n_frames
    assert alone.block_fingerprints() == {"objects": whole.block_fingerprints()["objects"]}
    clip = np.random.default_rng(0).integers(0, 256, (6, 40, 60, 3), dtype=np.uint8)
    clips = clips_of(clip[None])
    both, objects = whole.encode(clips)[0].vector, alone.encode(clips)[0].vector
    weight = whole.blocks[0].weight
    np.testing.assert_allclose(both[: alone.dim], weight * objects, atol=1e-6)
    missing = whole.encode_blocks(clips, ["motion", "unseen_body"])[0]
    np.testing.assert_allclose(missing[alone.dim :], both[alone.dim :], atol=1e-6)
