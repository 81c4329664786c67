"""What every registered encoder must keep to, whatever its sensor.

An encoder is loaded with the class attribute ``contract_argument`` (what stands after the colon of
its spec; the empty text where there is none). One whose weights must be downloaded offers a tiny
random one there; ``contract_argument = None`` says that it cannot be loaded offline, and ``TINY``
names tiny models that are saved for it. Clips come from ``Reader.example`` of its sensor, so this
file needs no list of sensors.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_models, tiny_st
from tests.clips import clips_of, vectors_of
from tests.refusals import refused
from tests.unit.encoders.onnx import made
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import UsageError
from vlar.media.lookup import reader
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Sampling, Window

LONG_TEXT = "a person rides a bicycle along a quiet street and waves " * 60


#: Encoders whose weights a test must save: the kinds of models that their loaders tell apart.
TINY = {
    "hf": ("clip", "altclip", "xclip", "videoprism", "pe_video", "videomae"),
    "st": ("clip", "qwen"),
    "onnx": ("made",),
    "videomae": ("videomae",),
    "vjepa2": ("vjepa2",),
}


def specs() -> list[str]:
    """A registered name, or one with the tiny model that is saved for it."""
    found: list[str] = []
    for name in registry.names("encoder"):
        found += [f"{name} {model}" for model in TINY.get(name, ())] or [name]
    return found


@pytest.fixture(scope="module", params=specs())
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    name, _, model = str(request.param).partition(" ")
    if model:
        if name == "st":
            pytest.importorskip("sentence_transformers", minversion="6.0")
        place = tmp_path_factory.mktemp(name) / model
        if name == "onnx":
            return load_encoder(f"onnx:{made.write(place)}")
        save = tiny_st.save if name == "st" else tiny_models.save
        try:
            folder = save(model, place)
        except (AttributeError, ImportError) as error:
            if int(version("transformers").partition(".")[0]) >= 5:
                raise
            pytest.skip(f"transformers {version('transformers')} has no {model} ({error})")
        return load_encoder(f"{name}:{folder}")
    argument = getattr(registry.get("encoder", name), "contract_argument", "")
    if argument is None:
        pytest.skip(f"{name} cannot be loaded offline")
    return load_encoder(f"{name}:{argument}" if argument else name)


@pytest.fixture(scope="module")
def recording(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader(encoder.modality).example(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def clips(encoder: Encoder, recording: Path) -> list[Clip]:
    """Three clips that differ: parts of one recording."""
    length_s = reader(encoder.modality).probe(recording).duration_s
    spans = [Window(0, length_s / 3), Window(length_s / 2, length_s), Window(0, length_s)]
    sampling = few(encoder)
    found = list(reader(encoder.modality).read_windows(recording, spans, sampling))
    assert all(isinstance(clip, Clip) for clip in found)
    return [clip for clip in found if isinstance(clip, Clip)]


@pytest.fixture(scope="module")
def rows(encoder: Encoder, clips: list[Clip]) -> list[Encoded]:
    """What the encoder makes of the clips, once."""
    return encoder.encode(clips)


def few(encoder: Encoder, n_frames: int = 3) -> Sampling:
    """What the encoder wants, with few frames where it takes any number of pictures."""
    n_frames = encoder.n_frames if encoder.frames_fixed or encoder.fixed_rows else n_frames
    return replace(encoder.sampling, n_frames=n_frames)


def rows_of(encoder: Encoder, n_frames: int) -> int:
    """Rows of the features of a clip of so many frames."""
    return 1 if encoder.per_clip else encoder.fixed_rows or n_frames


def require_video(encoder: Encoder) -> None:
    if encoder.modality != "video":
        pytest.skip("of encoders that take pictures")


def pictures(n: int, t: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
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
    assert encoder.modality in registry.names("reader")
    sampling = encoder.sampling
    assert (sampling.n_frames, sampling.frames_fixed) == (encoder.n_frames, encoder.frames_fixed)
    assert sampling.longest_s == encoder.longest_s > 0
    assert (sampling.fps, sampling.max_frames) == (encoder.fps, encoder.max_frames)
    assert (encoder.fps is None) == (encoder.max_frames is None)


def test_an_encoder_of_pictures_says_how_it_wants_them(encoder: Encoder):
    require_video(encoder)
    assert encoder.preprocess is not None
    assert encoder.preprocess.fit in {"crop", "squash"}
    assert min(encoder.preprocess.height, encoder.preprocess.width) > 0
    assert len(encoder.preprocess.mean) == len(encoder.preprocess.std) == 3
    assert encoder.sampling.size == (encoder.preprocess.height, encoder.preprocess.width)
    assert encoder.sampling.shorter_side == 2 * max(encoder.sampling.size)
    kinds = {block.kind for block in encoder.frame_blocks}
    assert kinds <= {"clip", "logits"} if encoder.per_clip else kinds >= {"appearance"}


def test_blocks_fill_the_vector(encoder: Encoder):
    assert sum(block.width for block in encoder.blocks) == encoder.dim
    assert sum(block.width for block in encoder.frame_blocks) == encoder.frame_dim
    assert any(block.has_text for block in encoder.blocks)
    for blocks in (encoder.blocks, encoder.frame_blocks):
        names = [block.name for block in blocks]
        assert len(set(names)) == len(names)


def test_rows_have_shapes_and_length(encoder: Encoder, clips: list[Clip], rows: list[Encoded]):
    for clip, row in zip(clips, rows, strict=True):
        assert row.features.shape == (rows_of(encoder, len(clip.data)), encoder.frame_dim)
        assert row.vector.shape == (encoder.dim,)
        assert row.features.dtype == row.vector.dtype == np.float32
        assert np.isfinite(row.features).all()
        np.testing.assert_allclose(np.linalg.norm(row.vector), 1, atol=1e-5)
        assert row.context is None or row.context.ndim == 2


def test_different_clips_give_different_vectors(rows: list[Encoded]):
    first, second, _ = (row.vector for row in rows)
    assert first @ second < 1 - 1e-6


def test_same_input_same_vector(encoder: Encoder, clips: list[Clip]):
    before = clips[0].data.copy()
    first, second = encoder.encode(clips[:1]), encoder.encode(clips[:1])
    np.testing.assert_array_equal(first[0].vector, second[0].vector)
    np.testing.assert_array_equal(clips[0].data, before)
    texts = ["riding a bike", "cooking"]
    np.testing.assert_array_equal(encoder.encode_text(texts), encoder.encode_text(texts))


def test_a_clip_is_the_same_alone_and_in_company(
    encoder: Encoder, clips: list[Clip], rows: list[Encoded]
):
    for clip, row in zip(clips, rows, strict=True):
        (alone,) = encoder.encode([clip])
        np.testing.assert_array_equal(row.features, alone.features)
        np.testing.assert_array_equal(row.vector, alone.vector)
        if row.context is not None:
            np.testing.assert_array_equal(row.context, alone.context)


def test_a_session_gives_the_vectors_of_encode(encoder: Encoder, recording: Path):
    """With windows that overlap; only bodies that are tracked on may differ, and here is nobody."""
    length_s = reader(encoder.modality).probe(recording).duration_s
    spans = [Window(part * length_s / 4, (part + 2) * length_s / 4) for part in range(3)]
    read = reader(encoder.modality).read_windows(recording, spans, few(encoder, 4))
    clips = [clip for clip in read if isinstance(clip, Clip)]
    names = [encoder.blocks[0].name]
    width = encoder.blocks[0].width
    each, expected = encoder.encode(clips), encoder.encode_blocks(clips, names)[:, :width]
    for features in (True, False):
        session = encoder.session(features=features)
        for row, alone in zip(session.encode(clips), each, strict=True):
            np.testing.assert_allclose(row.vector, alone.vector, atol=1e-5)
            assert row.features.shape[1:] == alone.features.shape[1:]
            if features:
                np.testing.assert_allclose(row.features, alone.features, atol=1e-4)
        blocks = encoder.session(features=features).encode_blocks(clips, names)
        np.testing.assert_allclose(blocks[:, :width], expected, atol=1e-5)


def test_pool_gives_the_vectors_or_says_that_it_cannot(encoder: Encoder, rows: list[Encoded]):
    features = np.stack([row.features for row in rows])
    if type(encoder).pool is Encoder.pool:
        refused(UsageError, encoder.name, encoder.pool, features)
        return
    vectors = np.stack([row.vector for row in rows])
    np.testing.assert_array_equal(encoder.pool(features), vectors)
    assert encoder.pool(features[:0]).shape == (0, encoder.dim)


def test_blocks_can_be_had_alone(encoder: Encoder, clips: list[Clip], rows: list[Encoded]):
    whole = np.stack([row.vector for row in rows])
    start = 0
    for block in encoder.blocks:
        part = slice(start, start + block.width)
        found = encoder.encode_blocks(clips, [block.name])
        np.testing.assert_allclose(found[:, part], whole[:, part], atol=1e-6)
        start += block.width
    assert encoder.encode_blocks([], [encoder.blocks[0].name]).shape == (0, encoder.dim)


def test_no_clip(encoder: Encoder):
    assert encoder.encode([]) == []


def test_text_batch_equals_single(encoder: Encoder):
    texts = ["a dog", LONG_TEXT, "riding a bike", "掃除をする", "a dog"]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    np.testing.assert_array_equal(encoder.encode_text(texts), alone)


def test_a_rate_needs_features_that_do_not_grow(encoder: Encoder):
    """Frames at a rate differ in number from clip to clip, and features of one width are needed."""
    one_size = encoder.per_clip or encoder.fixed_rows is not None
    assert encoder.fps is None or (one_size and not encoder.frames_fixed)
    assert encoder.sampling.all_samples == encoder.all_samples
    assert not encoder.all_samples or (one_size and reader(encoder.modality).gives_all)
    assert encoder.feature_rows == rows_of(encoder, encoder.n_frames)


def test_text_has_a_role(encoder: Encoder):
    texts = ["riding a bike", "a dog"]
    labels, queries = encoder.encode_text(texts, "label"), encoder.encode_text(texts, "query")
    np.testing.assert_array_equal(encoder.encode_text(texts), labels)
    np.testing.assert_array_equal(encoder.encode_in_role(texts, "query"), queries)
    assert queries.shape == labels.shape
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert np.array_equal(labels, queries) != encoder.two_roles


def test_no_text(encoder: Encoder):
    assert encoder.encode_text([]).shape == (0, encoder.dim)


@pytest.mark.parametrize(
    "text", ["🚴‍♀️ 🏊", "骑自行车", "ركوب الدراجة", "\u200b", "!!!", "a\x00b\tc\n", "x" * 2000, ""]
)
def test_any_text_has_a_vector(encoder: Encoder, text: str):
    vector = encoder.encode_text([text])
    assert vector.shape == (1, encoder.dim)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_text_fills_its_blocks_only(encoder: Encoder):
    vector = encoder.encode_text(["riding a bike"])[0]
    start = 0
    for block in encoder.blocks:
        part = vector[start : start + block.width]
        assert part.any() == block.has_text, block.name
        np.testing.assert_allclose(
            encoder.encode_text_block(["riding a bike"], block.name)[0].any(), block.has_text
        )
        start += block.width


def test_long_text_is_cut(encoder: Encoder):
    assert encoder.count_tokens(LONG_TEXT) > encoder.max_tokens
    assert 2 < encoder.count_tokens("riding a bike") < encoder.max_tokens
    longer = LONG_TEXT + "then something else entirely happens in a kitchen"
    np.testing.assert_array_equal(encoder.encode_text([LONG_TEXT]), encoder.encode_text([longer]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 90), (91, 3), (37, 53), (300, 300)])
def test_any_size(encoder: Encoder, height: int, width: int):
    require_video(encoder)
    vector = vectors_of(encoder, pictures(1, few(encoder).n_frames, height, width))
    assert vector.shape == (1, encoder.dim)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)


def test_a_blank_clip_has_a_vector(encoder: Encoder):
    for clip in reader(encoder.modality).blank(encoder.sampling)[:3]:
        (row,) = encoder.encode([clip])
        assert np.isfinite(row.vector).all()
        np.testing.assert_allclose(np.linalg.norm(row.vector), 1, atol=1e-5)


@pytest.mark.parametrize("t", [1, 2, 5])
def test_any_number_of_frames(encoder: Encoder, recording: Path, t: int):
    if encoder.frames_fixed:
        pytest.skip("needs its own number of frames")
    clip = reader(encoder.modality).read_clip(recording, None, few(encoder, t))
    (row,) = encoder.encode([clip])
    assert row.features.shape == (rows_of(encoder, t), encoder.frame_dim)
    assert np.isfinite(row.features).all()
    assert np.isfinite(row.vector).all()


def test_a_view_of_memory_is_read_right(encoder: Encoder, clips: list[Clip], rows: list[Encoded]):
    data = clips[0].data
    view = np.ascontiguousarray(data[::-1])[::-1]
    assert not view.flags.c_contiguous
    (row,) = encoder.encode([replace(clips[0], data=view)])
    np.testing.assert_array_equal(row.vector, rows[0].vector)


def test_fingerprint_is_stable(encoder: Encoder):
    before = encoder.fingerprint
    encoder.encode_text(["riding a bike"])
    again = load_encoder(encoder.name)
    assert again.fingerprint == before == encoder.fingerprint
    assert len(before) >= 16
    assert encoder.block_fingerprints().keys() == {block.name for block in encoder.blocks}


def test_it_runs_on_a_cpu_when_asked_to(encoder: Encoder):
    assert load_encoder(encoder.name, device="cpu").fingerprint == encoder.fingerprint


def test_unit_keeps_a_zero_vector():
    assert unit(np.zeros((2, 4), dtype=np.float32)).tolist() == [[0.0] * 4] * 2


def test_clips_of_arrays_are_at_ten_frames_a_second():
    assert clips_of(np.zeros((1, 3, 2, 2, 3), np.uint8))[0].times_s.tolist() == [0, 0.1, 0.2]
