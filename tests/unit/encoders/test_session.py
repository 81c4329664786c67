"""Windows that overlap share the work on their frames, and keep their vectors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.encoders.clip.models import openclip_config, save_openclip
from vlar.encoders.base import load_encoder
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.encoders.session import FrameMemory, Session
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.media.lookup import reader
from vlar.media.video.sample import frame_times, windows
from vlar.model.model import Model
from vlar.types import Clip, Encoded, Float32, Window

FPS = 25.0


def recording(
    n_frames: int, spans: Sequence[Window], t: int, *, path: str = "a", seed: int = 0
) -> list[Clip]:
    """The clips of the windows of a made recording; every frame has its own content."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (n_frames, 4, 5, 3), dtype=np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    clips: list[Clip] = []
    for span in spans:
        shown = (frame_times(span, t) * FPS).astype(int).clip(0, n_frames - 1)
        clips.append(Clip(Path(path), span, "video", frames[shown], shown / FPS))
    return clips


class FrameSum(Session):
    """A vector is the mean of a fixed function of every frame; it counts the frames it computes."""

    def __init__(self) -> None:
        super().__init__(self.alone)
        self.memory = FrameMemory[Float32]()
        self.computed = 0

    def alone(self, clips: Sequence[Clip]) -> list[Encoded]:
        return [self.pooled(np.stack([self.frame(x) for x in clip.data])) for clip in clips]

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return [self.shared(clip) for clip in clips]

    def shared(self, clip: Clip) -> Encoded:
        seen = self.memory.look_up(clip, range(len(clip.data)))
        for each in seen:
            if each.result is None:
                each.result = self.frame(each.pixels)
                self.computed += 1
        return self.pooled(np.stack([each.result for each in seen]))

    @staticmethod
    def frame(pixels: np.ndarray) -> Float32:
        return np.sin(pixels[::8, ::8].astype(np.float32).ravel())

    @staticmethod
    def pooled(features: Float32) -> Encoded:
        return Encoded(features, features.mean(axis=0))


@given(
    st.floats(0.2, 12.0),
    st.floats(0.1, 5.0),
    st.floats(0.1, 5.0),
    st.integers(1, 24),
    st.booleans(),
)
def test_any_windows_share_without_changing_a_vector(
    duration_s: float, window_s: float, stride_s: float, t: int, shuffled: bool
):
    spans = windows(duration_s, window_s, stride_s)
    if shuffled:  # any order is right
        spans = list(np.random.default_rng(0).permutation(np.array(spans, object)))
    clips = recording(max(1, int(duration_s * FPS)), spans, t)
    session = FrameSum()
    shared, alone = session.encode(clips), session.alone(clips)
    for one, other in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.vector, other.vector)
    distinct = [set(clip.times_s.tolist()) for clip in clips]
    known = [set(), *distinct[:-1]]  # what the window before had
    assert session.computed <= sum(len(d - k) for d, k in zip(distinct, known, strict=True))
    assert len(session.memory._frames) <= t


def test_half_overlapping_windows_compute_every_frame_once():
    clips = recording(60 * 25, windows(60.0, 4.0, 2.0), 32)
    session = FrameSum()
    session.encode(clips)
    assert session.computed == len({time for clip in clips for time in clip.times_s}) == 480
    assert sum(len(clip.data) for clip in clips) == 928


def test_two_frames_at_one_time_are_two_frames():
    """Clocks of damaged recordings stand still."""
    first, second = recording(100, [Window(0, 4), Window(0, 4)], 8)
    other = Clip(second.path, second.window, "video", 255 - second.data, second.times_s)
    session = FrameSum()
    rows = session.encode([first, other, first])
    np.testing.assert_array_equal(rows[1].vector, session.alone([other])[0].vector)
    np.testing.assert_array_equal(rows[2].vector, rows[0].vector)


def test_another_recording_starts_with_nothing():
    spans = windows(8.0, 4.0, 2.0)
    clips = recording(200, spans, 8) + recording(200, spans, 8, path="b", seed=1)
    session = FrameSum()
    for one, other in zip(session.encode(clips), session.alone(clips), strict=True):
        np.testing.assert_array_equal(one.vector, other.vector)


def test_memory_holds_no_array_of_an_earlier_clip():
    clips = recording(250, windows(10.0, 4.0, 0.5), 32)
    memory = FrameMemory[int]()
    for clip in clips:
        memory.look_up(clip, range(32))
    assert {id(seen.pixels.base) for seen in memory._frames.values()} == {id(clips[-1].data)}


@pytest.fixture(scope="module")
def clip_encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("tiny")
    save_openclip(folder, openclip_config())
    encoder = load_encoder(f"openclip:{folder}", device="cpu")
    assert isinstance(encoder, TorchEncoder)
    return encoder


@pytest.mark.parametrize("batched", [False, True], ids=["clip by clip", "in batches"])
def test_a_clip_tower_runs_once_on_a_shared_frame(
    clip_encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch, batched: bool
):
    clips = recording(250, windows(10.0, 4.0, 2.0), 8)
    clips += recording(100, windows(3.0, 4.0, 2.0), 8, path="b", seed=1)
    expected = clip_encoder.encode(clips)
    ran: list[int] = []
    image = clip_encoder.towers.image
    counting = SimpleNamespace(
        image=lambda pixels: (ran.append(len(pixels)), image(pixels))[1],
        **{name: getattr(clip_encoder.towers, name) for name in ("pixels", "device", "dtype")},
    )
    monkeypatch.setattr(clip_encoder, "towers", counting)
    if batched:  # as on an accelerator
        monkeypatch.setattr("vlar.encoders.torch_encoder._in_batches", lambda _: True)
    found = clip_encoder.session().encode(clips)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-5)
        np.testing.assert_allclose(one.features, other.features, atol=1e-4)
    assert ran == ([28] if batched else [8, 4, 4, 4, 8])


def lite_clips(video: Path, encoder: LiteEncoder, spans: Sequence[Window]) -> list[Clip]:
    clips = list(reader("video").read_windows(video, spans, encoder.sampling))
    assert all(isinstance(clip, Clip) for clip in clips)
    return [clip for clip in clips if isinstance(clip, Clip)]


@pytest.mark.slow
def test_objects_of_a_window_are_the_same_with_and_without_sharing(
    lite_model: Model, demo_clips: dict[str, Path]
):
    encoder = lite_model.encoder
    assert isinstance(encoder, LiteEncoder)
    clips = lite_clips(demo_clips["bikes"], encoder, windows(4.0, 2.0, 1.0))
    objects = slice(0, encoder.blocks[0].width)
    found = encoder.session(features=False).encode(clips)
    for clip, row in zip(clips, found, strict=True):
        (alone,) = encoder.encode([clip])
        np.testing.assert_allclose(row.vector[objects], alone.vector[objects], atol=1e-5)
        assert row.features.shape == (0, encoder.frame_dim)
        if encoder.body is None:
            np.testing.assert_allclose(row.vector, alone.vector, atol=1e-5)


def test_bodies_are_the_same_where_windows_do_not_overlap(lite_model: Model, real_videos: Path):
    encoder = lite_model.encoder
    assert isinstance(encoder, LiteEncoder)
    if encoder.body is None:
        pytest.skip("lite-motion was not fetched")
    video = real_videos / "gmdcsa24/fall_down/13.mp4"
    apart = lite_clips(video, encoder, windows(3.2, 1.0, 1.1))
    for clip, row in zip(apart, encoder.session().encode(apart), strict=True):
        (alone,) = encoder.encode([clip])
        np.testing.assert_allclose(row.vector, alone.vector, atol=1e-5)
        np.testing.assert_allclose(row.features, alone.features, atol=1e-4)


def test_people_are_tracked_on_from_window_to_window(lite_model: Model, real_videos: Path):
    """Batches do not matter, the networks run less, and people stay where they are."""
    encoder = lite_model.encoder
    assert isinstance(encoder, LiteEncoder)
    if encoder.body is None:
        pytest.skip("lite-motion was not fetched")
    video = real_videos / "gmdcsa24/fall_down/13.mp4"
    clips = lite_clips(video, encoder, windows(3.0, 2.0, 0.5))
    session = encoder.session()
    one_by_one = [row for clip in clips for row in session.encode([clip])]
    for row, other in zip(encoder.session().encode(clips), one_by_one, strict=True):
        np.testing.assert_array_equal(row.vector, other.vector)
    for clip, row in zip(clips, one_by_one, strict=True):
        alone = encoder.encode([clip])[0].vector
        assert float(alone @ row.vector) > 0.9
    first = encoder.encode(clips[:1])[0].vector
    np.testing.assert_allclose(one_by_one[0].vector, first, atol=1e-5)
    names = ["motion", "unseen_body"]
    fresh = encoder.session(features=False)
    blocks = [fresh.encode_blocks([clip], names)[0] for clip in clips]
    start = encoder.blocks[0].width
    for row, block in zip(one_by_one, blocks, strict=True):
        np.testing.assert_allclose(block[start:], row.vector[start:], atol=1e-6)


def test_every_pair_of_windows_of_one_rate_finds_its_shared_frames():
    """What two windows share is shared, whatever came between."""
    spans = windows(12.0, 4.0, 2.0)
    for a, b in itertools.combinations(range(len(spans)), 2):
        clips = recording(300, [spans[a], spans[b]], 16)
        session = FrameSum()
        session.encode(clips)
        assert session.computed == len({*clips[0].times_s.tolist(), *clips[1].times_s.tolist()})
