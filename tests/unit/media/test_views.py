"""What a span of a video is judged by: one clip, or several of a long one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vlar
from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError
from vlar.heads.support import SupportItem
from vlar.media.lookup import reader
from vlar.media.video.decode import read_clip
from vlar.media.views import ViewSampler, content_span, is_blank
from vlar.model.examples import read_examples
from vlar.numeric import unit
from vlar.types import Clip, Failure, Sampling, Window

ONE_VIEW = ViewSampler(reader("video"), Sampling(4, shorter_side=64))
SEVERAL = ViewSampler(reader("video"), Sampling(4, longest_s=5.0, shorter_side=64))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds, every frame another."""
    path = tmp_path_factory.mktemp("views") / "long.mp4"
    return videos.make_video(path, 80, fps=10, picture=lambda i: videos.noise(i))


def spans(views) -> list[tuple[float, float]]:
    return [(round(c.window.start_s, 3), round(c.window.end_s, 3)) for c in views]


def test_a_long_span_is_seen_whole_and_in_parts(video: Path):
    views = SEVERAL.sample(video)
    assert spans(views) == [(0, 8), (0, 4), (2, 6), (4, 8)]
    for view in views:
        alone = read_clip(video, view.window, 4, shorter_side=64)
        assert (view.data == alone.data).all()


@pytest.mark.parametrize(
    ("sampler", "window"), [(ONE_VIEW, None), (SEVERAL, Window(1, 6)), (SEVERAL, Window(0, 1))]
)
def test_a_span_that_is_short_enough_is_seen_once(
    sampler: ViewSampler, window: Window, video: Path
):
    assert len(sampler.sample(video, window)) == 1
    assert [len(views) for views in sampler.sample_each([(video, window)])] == [1]


def test_many_spans_are_seen_as_each_alone_and_failures_keep_their_place(
    video: Path, tmp_path: Path
):
    missing = tmp_path / "missing.mp4"
    asked = [(video, None), (missing, None), (video, Window(0, 2)), (video, Window(1, 8))]
    found = list(SEVERAL.sample_each(asked))
    assert isinstance(found[1], Failure)
    assert found[1].path == missing
    refused(DecodeError, "", SEVERAL.sample, missing)
    for (path, window), views in zip(asked, found, strict=True):
        if not isinstance(views, Failure):
            alone = SEVERAL.sample(path, window)
            assert spans(views) == spans(alone)
            assert all(np.array_equal(a.data, b.data) for a, b in zip(views, alone, strict=True))


def test_every_few_seconds(video: Path, tmp_path: Path):
    missing = tmp_path / "missing.mp4"
    short = list(SEVERAL.sample_every([video, missing], 4.0))
    assert [isinstance(views, Failure) or len(views) for views in short] == [1, 1, True]
    assert [len(views) for views in SEVERAL.sample_every([video], 6.0)] == [4, 4]


def test_a_part_that_cannot_be_read_is_left_out(video: Path, tmp_path: Path):
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(video.read_bytes())
    size = torn.stat().st_size
    with torn.open("r+b") as file:  # the index stands at the end: only pictures are lost
        file.seek(int(size * 0.62))
        file.write(bytes(int(size * 0.3)))
    views = SEVERAL.sample(torn)
    (same,) = SEVERAL.sample_each([(torn, None)])
    assert not isinstance(same, Failure)
    assert spans(views) == spans(same)
    assert 1 <= len(views) < 4


@given(st.floats(0, 1e4), st.floats(5, 1e4), st.floats(4, 100))
def test_parts_lie_inside_the_span(start: float, length: float, longest: float):
    window = Window(start, start + length)
    parts = ViewSampler(reader("video"), Sampling(4, longest_s=longest)).parts(window)
    assert bool(parts) == (window.duration_s > longest)
    assert all(start <= part.start_s and part.end_s <= window.end_s + 1e-6 for part in parts)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> vlar.Model:
    """The default model; eight seconds are long for it, and few frames are soon encoded."""
    model = vlar.load()
    monkeypatch.setattr(model.encoder, "longest_s", 5.0)
    monkeypatch.setattr(model.encoder, "n_frames", 4)
    return model


@pytest.mark.slow
def test_the_mean_of_the_views_answers(video: Path, model: vlar.Model):
    views = model.view_sampler.sample(video)
    vectors = [one.vector for one in model.words.encode(views)]
    seen = model.words.encode_views(views)
    np.testing.assert_allclose(seen.vector, unit(np.mean(vectors, axis=0)), atol=1e-6)
    assert len(seen.features) == model.encoder.n_frames
    labels = ["running", "cooking"]
    answer = model.classify(video, labels)
    assert [answer] == model.classify([video], labels)
    assert (answer.start_s, answer.end_s) == (0, pytest.approx(8))
    best = next(p for p in answer.predictions if p.label == "running")
    text = model.words.encode_queries(["running"])[0]
    assert best.similarity == pytest.approx(float(seen.vector @ text), abs=1e-5)


def test_examples_are_seen_in_one_clip_unless_a_sampler_is_given(video: Path, model: vlar.Model):
    items = [SupportItem(video, None, ("moving",), "moving")]
    (once,) = read_examples(model.words, items).encoded
    (several,) = read_examples(model.words, items, sampler=model.view_sampler).encoded
    views = model.view_sampler.sample(video)
    np.testing.assert_array_equal(once.vector, model.words.encode(views[:1])[0].vector)
    np.testing.assert_array_equal(several.vector, model.words.encode_views(views).vector)
    assert not np.array_equal(once.vector, several.vector)


def test_a_black_lead_in_is_not_read(tmp_path: Path):
    clip = Clip(
        tmp_path / "a.mp4", Window(0.0, 8.0), "video",
        np.zeros((16, 32, 32, 3), np.uint8), (np.arange(16) + 0.5) / 2,
    )  # fmt: skip
    assert content_span(clip) is None
    assert is_blank(clip)
    scene = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3)).astype(np.uint8)
    assert content_span(replace(clip, data=scene)) is None
    late = scene.copy()
    late[:8] = 0
    assert content_span(replace(clip, data=late)) == Window(4.0, 8.0)
    assert not is_blank(replace(clip, data=late))
    faded = scene.copy()
    faded[0] = 0
    assert content_span(replace(clip, data=faded)) is None
    early = scene.copy()
    early[12:] = 255
    assert content_span(replace(clip, data=early)) == Window(0.0, 6.0)


def test_other_sensors_have_no_blank_pictures(tmp_path: Path):
    signal = np.zeros((16, 6), np.float32)
    clip = Clip(tmp_path / "a.csv", Window(0.0, 8.0), "imu", signal, np.arange(16) / 2)
    assert content_span(clip) is None
    assert not is_blank(clip)


def test_a_recording_with_a_black_lead_in_is_judged_by_its_pictures(tmp_path: Path):
    scene = videos.noise(1)
    path = videos.make_video(tmp_path / "lead.mp4", 80, fps=10, picture=lambda i: scene * (i >= 40))
    sampler = ViewSampler(reader("video"), Sampling(8))
    (one,) = sampler.sample(path)
    ((each,),) = sampler.sample_each([(path, None)])
    for view in (one, each):
        assert view.window.duration_s == pytest.approx(8.0, abs=0.2)
        assert view.times_s[0] >= 3.5
        assert (view.data.reshape(8, -1).std(axis=1) > 10).all()
