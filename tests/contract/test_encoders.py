"""What every registered encoder must keep to.

An encoder is loaded with the class attribute ``contract_argument`` (what stands after the colon of
its spec; the empty text where there is none). One whose weights must be downloaded offers a tiny
random one there; ``contract_argument = None`` says that it cannot be loaded offline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vlar import registry
from vlar.encoders import Encoder, load_encoder
from vlar.numeric import unit

LONG_TEXT = "a person rides a bicycle along a quiet street and waves " * 60


@pytest.fixture(scope="module", params=registry.names("encoder"))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    part = registry.get("encoder", request.param)
    argument = getattr(part, "contract_argument", "")
    if argument is None:
        pytest.skip(f"{request.param} cannot be loaded offline")
    return load_encoder(f"{request.param}:{argument}" if argument else request.param)


@pytest.fixture(scope="module")
def n_frames(encoder: Encoder) -> int:
    return encoder.n_frames if encoder.frames_fixed else 3


def pictures(n: int, t: int, height: int = 48, width: int = 64, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (n, t, 6, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return coarse[:, :, rows][:, :, :, columns]


def test_description_is_complete(encoder: Encoder):
    assert encoder.name
    assert encoder.dim > 0
    assert encoder.frame_dim > 0
    assert encoder.n_frames > 0
    assert encoder.logit_scale > 0
    assert encoder.max_tokens > 2
    assert encoder.licence != "unknown"
    assert encoder.preprocess.fit in {"crop", "squash"}
    assert min(encoder.preprocess.height, encoder.preprocess.width) > 0
    assert len(encoder.preprocess.mean) == len(encoder.preprocess.std) == 3


def test_blocks_fill_the_vector(encoder: Encoder):
    assert sum(block.width for block in encoder.blocks) == encoder.dim
    assert sum(block.width for block in encoder.frame_blocks) == encoder.frame_dim
    assert {block.kind for block in encoder.frame_blocks} >= {"appearance"}
    assert any(block.has_text for block in encoder.blocks)
    for blocks in (encoder.blocks, encoder.frame_blocks):
        names = [block.name for block in blocks]
        assert len(set(names)) == len(names)


def test_video_shapes_and_length(encoder: Encoder, n_frames: int):
    features = encoder.encode_frames(pictures(2, n_frames))
    assert features.shape == (2, n_frames, encoder.frame_dim)
    assert features.dtype == np.float32
    vectors = encoder.pool(features)
    assert vectors.shape == (2, encoder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_different_pictures_give_different_vectors(encoder: Encoder, n_frames: int):
    first, second = encoder.encode_video(pictures(2, n_frames))
    assert first @ second < 0.999


def test_same_input_same_vector(encoder: Encoder, n_frames: int):
    frames = pictures(1, n_frames)
    kept = frames.copy()
    np.testing.assert_array_equal(encoder.encode_video(frames), encoder.encode_video(frames))
    np.testing.assert_array_equal(frames, kept)
    texts = ["riding a bike", "cooking"]
    np.testing.assert_array_equal(encoder.encode_text(texts), encoder.encode_text(texts))


def test_batch_equals_single(encoder: Encoder, n_frames: int):
    frames = pictures(3, n_frames)
    features = encoder.encode_frames(frames)
    single = np.concatenate([encoder.encode_frames(frames[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(features, single)
    pooled = np.concatenate([encoder.pool(features[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(encoder.pool(features), pooled)


def test_text_batch_equals_single(encoder: Encoder):
    texts = ["a dog", LONG_TEXT, "riding a bike", "掃除をする", "a dog"]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    np.testing.assert_array_equal(encoder.encode_text(texts), alone)


def test_no_text(encoder: Encoder):
    assert encoder.encode_text([]).shape == (0, encoder.dim)


def test_no_window(encoder: Encoder, n_frames: int):
    features = encoder.encode_frames(pictures(0, n_frames))
    assert features.shape == (0, n_frames, encoder.frame_dim)
    assert encoder.pool(features).shape == (0, encoder.dim)


@pytest.mark.parametrize(
    "text", ["🚴‍♀️ 🏊", "骑自行车", "ركوب الدراجة", "\u200b", "!!!", "a\x00b\tc\n", "x" * 2000, ""]
)
def test_any_text_has_a_vector(encoder: Encoder, text: str):
    vector = encoder.encode_text([text])
    assert vector.shape == (1, encoder.dim)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_text_speaks_only_of_its_blocks(encoder: Encoder):
    vector = encoder.encode_text(["riding a bike"])[0]
    start = 0
    for block in encoder.blocks:
        part = vector[start : start + block.width]
        assert part.any() == block.has_text, block.name
        start += block.width


def test_long_text_is_cut(encoder: Encoder):
    assert encoder.count_tokens(LONG_TEXT) > encoder.max_tokens
    assert 2 < encoder.count_tokens("riding a bike") < encoder.max_tokens
    longer = LONG_TEXT + "then something else entirely happens in a kitchen"
    np.testing.assert_array_equal(encoder.encode_text([LONG_TEXT]), encoder.encode_text([longer]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 90), (91, 3), (37, 53), (300, 300)])
def test_any_size(encoder: Encoder, n_frames: int, height: int, width: int):
    vector = encoder.encode_video(pictures(1, n_frames, height, width))
    assert vector.shape == (1, encoder.dim)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_video_has_a_vector(encoder: Encoder, n_frames: int, value: int):
    vector = encoder.encode_video(np.full((1, n_frames, 32, 32, 3), value, dtype=np.uint8))
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


@pytest.mark.parametrize("t", [1, 2, 5])
def test_any_number_of_frames(encoder: Encoder, t: int):
    if encoder.frames_fixed:
        pytest.skip("needs its own number of frames")
    features = encoder.encode_frames(pictures(1, t))
    assert features.shape == (1, t, encoder.frame_dim)
    assert np.isfinite(features).all()
    assert np.isfinite(encoder.pool(features)).all()


def test_a_view_of_memory_is_read_right(encoder: Encoder, n_frames: int):
    frames = pictures(1, n_frames)
    view = np.ascontiguousarray(frames[:, :, ::-1])[:, :, ::-1]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(encoder.encode_video(view), encoder.encode_video(frames))


def test_fingerprint_is_stable(encoder: Encoder):
    before = encoder.fingerprint
    encoder.encode_text(["riding a bike"])
    again = load_encoder(encoder.name)
    assert again.fingerprint == before == encoder.fingerprint
    assert len(before) >= 16


def test_unit_keeps_a_zero_vector():
    assert unit(np.zeros((2, 4), dtype=np.float32)).tolist() == [[0.0] * 4] * 2
