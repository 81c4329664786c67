"""The contract of an encoder, as a check; clips are parts of a recording of its sensor."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import UsageError
from vlar.media.lookup import reader
from vlar.testing.contract import lengths_are_one, name_of, refused, registered, run, same, skip
from vlar.testing.readers import example_of
from vlar.types import Clip, Encoded, Sampling, UInt8, Window

LONG_TEXT = "a person rides a bicycle along a quiet street and waves " * 60
SIZES = ((1, 1), (1, 90), (91, 3), (37, 53), (300, 300))
TEXTS = ("🚴‍♀️ 🏊", "骑自行车", "ركوب الدراجة", "\u200b", "!!!", "a\x00b\tc\n", "x" * 2000, "")


@dataclass
class EncoderMaterial:
    """An encoder and what it makes of three clips.

    Attributes:
        encoder: The encoder.
        recording: A recording of its sensor.
        clips: Three clips that differ.
        rows: What it makes of them in one call.
    """

    encoder: Encoder
    recording: Path
    clips: list[Clip]
    rows: list[Encoded]


def check_encoder(
    part: Any, *, argument: str | None = None, recording: str | Path | None = None
) -> None:
    """Try an encoder on clips and texts.

    Args:
        part: The encoder: a class, an object, or a registered name.
        argument: Text after the colon of its spec; default ``contract_argument`` of the class,
            whose None says that it cannot be loaded offline.
        recording: A recording of its sensor, of at least a second; default the one that the
            reader's ``example`` writes.

    Raises:
        AssertionError: it breaks the contract of ``vlar.encoders.base.Encoder``.
        unittest.SkipTest: it cannot be loaded offline.
    """
    part = registry.get("encoder", part) if isinstance(part, str) else part
    with loaded(part, argument) as encoder, tempfile.TemporaryDirectory() as folder:
        name = encoder.name
        run("encoder", name, DESCRIPTION, EncoderMaterial(encoder, Path(), [], []))
        source = reader(encoder.modality)
        path = Path(recording) if recording is not None else example_of(source, Path(folder) / "a")
        clips = clips_of(encoder, path)
        material = EncoderMaterial(encoder, path, clips, [])
        run("encoder", name, (_encode,), material)
        run("encoder", name, STEPS, material)


@contextmanager
def loaded(part: Any, argument: str | None = None) -> Generator[Encoder]:
    """The encoder of a part, known by its name as long as the context lasts.

    Raises:
        unittest.SkipTest: it cannot be loaded offline.
    """
    if not isinstance(part, type):
        with registered("encoder", name_of("encoder", part), type(part)):
            yield part
        return
    name = name_of("encoder", part)
    argument = part_argument(part) if argument is None else argument
    if argument is None:
        raise skip(f"encoder {name!r} cannot be loaded offline; give the check an argument")
    with registered("encoder", name, part):
        yield load_encoder(f"{name}:{argument}" if argument else name)


def part_argument(part: Any) -> str | None:
    """Argument of the spec with which a part is tried; None where it cannot be had offline."""
    return getattr(part, "contract_argument", "")


def clips_of(encoder: Encoder, recording: Path) -> list[Clip]:
    """Three clips that differ: parts of one recording."""
    source = reader(encoder.modality)
    length_s = source.probe(recording).duration_s
    spans = [Window(0, length_s / 3), Window(length_s / 2, length_s), Window(0, length_s)]
    clips = list(source.read_windows(recording, spans, few(encoder)))
    assert all(isinstance(clip, Clip) for clip in clips), f"{recording} cannot be read: {clips}"
    return [clip for clip in clips if isinstance(clip, Clip)]


def few(encoder: Encoder, n_frames: int = 3) -> Sampling:
    """Sampling of an encoder, with few frames where it takes any number of pictures."""
    is_fixed = encoder.frames_fixed or encoder.fixed_rows or encoder.modality != "video"
    return replace(encoder.sampling, n_frames=encoder.n_frames if is_fixed else n_frames)


def rows_of(encoder: Encoder, n_frames: int) -> int:
    """Rows of the features of a clip of T frames."""
    return 1 if encoder.per_clip else encoder.fixed_rows or n_frames


def pictures(n: int, t: int, height: int = 48, width: int = 64, seed: int = 0) -> UInt8:
    """(n, t, height, width, 3) coarse random pictures."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (n, t, 6, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return coarse[:, :, rows][:, :, :, columns]


def clips_of_frames(frames: UInt8) -> list[Clip]:
    """(N, T, H, W, 3) as N clips at 10 frames a second."""
    n_frames = frames.shape[1]
    times_s, window = np.arange(n_frames) / 10.0, Window(0.0, n_frames / 10.0)
    return [Clip(Path("clip"), window, "video", one, times_s) for one in frames]


def _is_video(m: EncoderMaterial) -> bool:
    return m.encoder.modality == "video"


def _description(m: EncoderMaterial) -> None:
    """An encoder states its name, widths, scale, licence and sensor, which models are saved by."""
    encoder = m.encoder
    assert encoder.name
    assert encoder.dim > 0
    assert encoder.frame_dim > 0
    assert encoder.n_frames > 0
    assert encoder.logit_scale > 0
    assert encoder.max_tokens > 2
    assert encoder.licence != "unknown", "its licence is unknown"
    assert encoder.modality in registry.names("reader"), f"no reader is called {encoder.modality!r}"
    sampling = encoder.sampling
    assert (sampling.n_frames, sampling.frames_fixed) == (encoder.n_frames, encoder.frames_fixed)
    assert sampling.longest_s == encoder.longest_s > 0
    assert (sampling.fps, sampling.max_frames) == (encoder.fps, encoder.max_frames)
    assert (encoder.fps is None) == (encoder.max_frames is None)


def _pictures(m: EncoderMaterial) -> None:
    """An encoder of pictures states size, mean and fit, by which a decoder resizes them."""
    encoder = m.encoder
    if not _is_video(m):
        return
    assert encoder.preprocess is not None
    assert encoder.preprocess.fit in {"crop", "squash"}
    assert min(encoder.preprocess.height, encoder.preprocess.width) > 0
    assert len(encoder.preprocess.mean) == len(encoder.preprocess.std) == 3
    size = encoder.preprocess.height, encoder.preprocess.width
    assert encoder.sampling.size == size
    assert encoder.sampling.shorter_side == 2 * max(size)
    kinds = {block.kind for block in encoder.frame_blocks}
    if encoder.per_clip:
        assert kinds <= {"clip", "logits"}, f"kinds {sorted(kinds)}"
    else:
        assert kinds & {"appearance", "pose"}, f"kinds {sorted(kinds)}"


def _blocks(m: EncoderMaterial) -> None:
    """Blocks fill the vector and the features and have names, so that parts of them can be read."""
    encoder = m.encoder
    assert sum(block.width for block in encoder.blocks) == encoder.dim
    assert sum(block.width for block in encoder.frame_blocks) == encoder.frame_dim
    assert any(block.has_text for block in encoder.blocks)
    for blocks in (encoder.blocks, encoder.frame_blocks):
        names = [block.name for block in blocks]
        assert len(set(names)) == len(names), f"names {names}"


def _sampling(m: EncoderMaterial) -> None:
    """Features have one width in rows where frames come at a rate or all at once."""
    encoder = m.encoder
    one_size = encoder.per_clip or encoder.fixed_rows is not None
    assert encoder.fps is None or (one_size and not encoder.frames_fixed)
    assert encoder.sampling.all_samples == encoder.all_samples
    assert not encoder.all_samples or (one_size and reader(encoder.modality).gives_all)
    assert encoder.feature_rows == rows_of(encoder, encoder.n_frames)


def _encode(m: EncoderMaterial) -> None:
    """Clips are encoded to one row each, in order."""
    m.rows = m.encoder.encode(m.clips)
    assert len(m.rows) == len(m.clips), f"{len(m.rows)} rows of {len(m.clips)} clips"


def _rows(m: EncoderMaterial) -> None:
    """Vectors (D,) have length 1 and features (T, F) are finite, float32, since cosines rank."""
    encoder = m.encoder
    for clip, row in zip(m.clips, m.rows, strict=True):
        rows = rows_of(encoder, len(clip.data))
        assert row.features.shape == (rows, encoder.frame_dim), f"features {row.features.shape}"
        assert row.vector.shape == (encoder.dim,), f"vector {row.vector.shape}"
        assert row.features.dtype == row.vector.dtype == np.float32
        assert np.isfinite(row.features).all(), "features are NaN or infinite"
        lengths_are_one(row.vector)
        assert row.context is None or row.context.ndim == 2


def _differ(m: EncoderMaterial) -> None:
    """Different clips have different vectors; an encoder that ignores its clips is useless."""
    first, second, _ = (row.vector for row in m.rows)
    assert first @ second < 1 - 1e-6


def _repeat(m: EncoderMaterial) -> None:
    """The same input gives the same vector, and is not changed, since vectors are stored."""
    before = m.clips[0].data.copy()
    first, second = m.encoder.encode(m.clips[:1]), m.encoder.encode(m.clips[:1])
    np.testing.assert_array_equal(first[0].vector, second[0].vector)
    np.testing.assert_array_equal(m.clips[0].data, before)
    texts = ["riding a bike", "cooking"]
    np.testing.assert_array_equal(m.encoder.encode_text(texts), m.encoder.encode_text(texts))


def _alone(m: EncoderMaterial) -> None:
    """A clip is the same alone and in a batch, since batches are cut by chance."""
    for clip, row in zip(m.clips, m.rows, strict=True):
        (alone,) = m.encoder.encode([clip])
        same(row.features, alone.features, m.encoder)
        same(row.vector, alone.vector, m.encoder)
        if row.context is not None:
            assert alone.context is not None
            same(row.context, alone.context, m.encoder)


def _session(m: EncoderMaterial) -> None:
    """A session gives the vectors of encode, with windows that overlap too."""
    # Only bodies that are tracked on may differ, and an example shows nobody.
    encoder, source = m.encoder, reader(m.encoder.modality)
    length_s = source.probe(m.recording).duration_s
    spans = [Window(part * length_s / 4, (part + 2) * length_s / 4) for part in range(3)]
    read = source.read_windows(m.recording, spans, few(encoder, 4))
    clips = [clip for clip in read if isinstance(clip, Clip)]
    names, width = [encoder.blocks[0].name], encoder.blocks[0].width
    rows, expected = encoder.encode(clips), encoder.encode_blocks(clips, names)[:, :width]
    for features in (True, False):
        session = encoder.session(features=features)
        for row, alone in zip(session.encode(clips), rows, strict=True):
            np.testing.assert_allclose(row.vector, alone.vector, atol=1e-5)
            assert row.features.shape[1:] == alone.features.shape[1:]
            if features:
                np.testing.assert_allclose(row.features, alone.features, atol=1e-4)
        blocks = encoder.session(features=features).encode_blocks(clips, names)
        np.testing.assert_allclose(blocks[:, :width], expected, atol=1e-5)


def _pool(m: EncoderMaterial) -> None:
    """Features are pooled to the vectors, none to (0, D), or the view is refused by name."""
    features = np.stack([row.features for row in m.rows])
    if type(m.encoder).pool is Encoder.pool:
        refused(UsageError, m.encoder.name, m.encoder.pool, features)
        return
    vectors = np.stack([row.vector for row in m.rows])
    np.testing.assert_array_equal(m.encoder.pool(features), vectors)
    assert m.encoder.pool(features[:0]).shape == (0, m.encoder.dim)


def _single_blocks(m: EncoderMaterial) -> None:
    """Blocks can be had alone, with the numbers that they have in the whole vector."""
    whole, start = np.stack([row.vector for row in m.rows]), 0
    for block in m.encoder.blocks:
        part = slice(start, start + block.width)
        vectors = m.encoder.encode_blocks(m.clips, [block.name])
        np.testing.assert_allclose(vectors[:, part], whole[:, part], atol=1e-6)
        start += block.width
    names = [m.encoder.blocks[0].name]
    assert m.encoder.encode_blocks([], names).shape == (0, m.encoder.dim)


def _nothing(m: EncoderMaterial) -> None:
    """No clip gives no row and no text gives (0, D), since a batch may be empty."""
    assert m.encoder.encode([]) == []
    assert m.encoder.encode_text([]).shape == (0, m.encoder.dim)


def _text_alone(m: EncoderMaterial) -> None:
    """A text is the same alone and in a batch, since batches are cut by chance."""
    texts = ["a dog", LONG_TEXT, "riding a bike", "掃除をする", "a dog"]
    alone = np.concatenate([m.encoder.encode_text([text]) for text in texts])
    same(m.encoder.encode_text(texts), alone, m.encoder)


def _roles(m: EncoderMaterial) -> None:
    """Texts differ as label and as query exactly where two_roles is stated."""
    texts = ["riding a bike", "a dog"]
    encoder = m.encoder
    labels, queries = (encoder.encode_in_role(texts, role) for role in ("label", "query"))
    np.testing.assert_array_equal(encoder.encode_text(texts), labels)
    assert queries.shape == labels.shape
    lengths_are_one(queries)
    assert np.array_equal(labels, queries) != encoder.two_roles


def _any_text(m: EncoderMaterial) -> None:
    """Any text has a float32 vector of length 1: other alphabets, control characters, none."""
    for text in TEXTS:
        vector = m.encoder.encode_text([text])
        assert vector.shape == (1, m.encoder.dim), f"shape {vector.shape} for {text[:20]!r}"
        assert vector.dtype == np.float32
        lengths_are_one(vector)


def _text_blocks(m: EncoderMaterial) -> None:
    """A text fills the blocks that have text, and leaves the others zero."""
    vector, start = m.encoder.encode_text(["riding a bike"])[0], 0
    for block in m.encoder.blocks:
        part = vector[start : start + block.width]
        assert part.any() == block.has_text, block.name
        alone = m.encoder.encode_text_block(["riding a bike"], block.name)[0]
        assert alone.any() == block.has_text, block.name
        start += block.width


def _long_text(m: EncoderMaterial) -> None:
    """A long text is cut at max_tokens, by its own count of tokens."""
    encoder = m.encoder
    assert encoder.count_tokens(LONG_TEXT) > encoder.max_tokens
    assert 2 < encoder.count_tokens("riding a bike") < encoder.max_tokens
    longer = LONG_TEXT + "then something else entirely happens in a kitchen"
    np.testing.assert_array_equal(encoder.encode_text([LONG_TEXT]), encoder.encode_text([longer]))


def _sizes(m: EncoderMaterial) -> None:
    """Pictures of any size have a vector, as people's files come in any size."""
    for height, width in SIZES if _is_video(m) else ():
        frames = pictures(1, few(m.encoder).n_frames, height, width)
        (row,) = m.encoder.encode(clips_of_frames(frames))
        assert row.vector.shape == (m.encoder.dim,)
        lengths_are_one(row.vector)


def _blank(m: EncoderMaterial) -> None:
    """A blank clip has a vector, with which recordings are compared for unknown."""
    for clip in reader(m.encoder.modality).blank(m.encoder.sampling)[:3]:
        (row,) = m.encoder.encode([clip])
        lengths_are_one(row.vector)


def _any_number(m: EncoderMaterial) -> None:
    """Any number of frames is taken, unless frames_fixed is stated."""
    for n_frames in () if m.encoder.frames_fixed else (1, 2, 5):
        number = m.encoder.n_frames if m.encoder.fixed_rows else n_frames
        sampling = replace(m.encoder.sampling, n_frames=number)
        clip = reader(m.encoder.modality).read_clip(m.recording, None, sampling)
        (row,) = m.encoder.encode([clip])
        assert row.features.shape == (rows_of(m.encoder, number), m.encoder.frame_dim)
        assert np.isfinite(row.features).all()
        assert np.isfinite(row.vector).all()


def _view(m: EncoderMaterial) -> None:
    """Samples that lie backwards in memory are read right, since arrays of users are views."""
    data = m.clips[0].data
    view = np.ascontiguousarray(data[::-1])[::-1]
    assert not view.flags.c_contiguous
    (row,) = m.encoder.encode([replace(m.clips[0], data=view)])
    np.testing.assert_array_equal(row.vector, m.rows[0].vector)


def _fingerprint(m: EncoderMaterial) -> None:
    """A fingerprint of at least 16 characters stays, by which stored vectors are recognised."""
    before = m.encoder.fingerprint
    m.encoder.encode_text(["riding a bike"])
    assert load_encoder(m.encoder.name).fingerprint == before == m.encoder.fingerprint
    assert len(before) >= 16, f"{len(before)} characters"
    names = {block.name for block in m.encoder.blocks}
    assert m.encoder.block_fingerprints().keys() == names


def _cpu(m: EncoderMaterial) -> None:
    """A CPU can be asked for (device="cpu"), and makes no other vectors."""
    again = load_encoder(m.encoder.name, device="cpu")
    assert again.fingerprint == m.encoder.fingerprint


Steps = Sequence[Any]
DESCRIPTION: Steps = (_description, _pictures, _blocks, _sampling)
STEPS: Steps = (
    *(_rows, _differ, _repeat, _alone, _session, _pool, _single_blocks, _nothing),
    *(_text_alone, _roles, _any_text, _text_blocks, _long_text, _sizes, _blank, _any_number),
    *(_view, _fingerprint, _cpu),
)
