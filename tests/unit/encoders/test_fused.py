"""Encoders joined by ``+``: vectors, frames, words, libraries and few-shot use both parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.clips import clips_of
from tests.known_parts import known
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.pose.figure import Figure, walker
from tests.unit.pose.test_features import rows as figure_rows
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess, load_encoder
from vlar.encoders.fused import JointEncoder, joined
from vlar.encoders.lite import body
from vlar.encoders.motion import MotionEncoder
from vlar.encoders.protocols import ConditionedText
from vlar.encoders.spec import split_parts, split_weight, with_weight
from vlar.errors import LibraryError, ModelError, UnknownNameError, UsageError
from vlar.heads.signatures import available_terms
from vlar.heads.support import Support, SupportItem
from vlar.library import manifest
from vlar.library.library import Library
from vlar.media.lookup import reader
from vlar.model.calibrate import fit_factors
from vlar.model.model import Model, load
from vlar.numeric import unit
from vlar.pose import networks
from vlar.types import Classification, Clip, Encoded, Float32, Sampling, Window

WORDS = ("red", "green", "blue", "rising", "falling", "still")


class Planted(Encoder):
    """A vector that is known: which of three colours, or whether it gets brighter or darker."""

    frame_dim = dim = 3
    logit_scale = 10.0
    max_tokens = 77
    licence = "made for a test"
    preprocess = Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3)
    words: tuple[str, ...]

    def __init__(self) -> None:
        self.given: list[Clip] = []
        self.blocks = (Block(self.name, self.dim, 1.0, True),)
        self.frame_blocks = (FrameBlock(self.name, self.dim, "appearance"),)
        self.fingerprint = f"planted {self.name}"

    @classmethod
    def from_spec(cls, argument: str = "") -> Planted:
        return cls()

    def frames(self, data: np.ndarray) -> Float32:
        raise NotImplementedError

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        self.given += clips
        features = [self.frames(clip.data.astype(np.float32)) for clip in clips]
        return [Encoded(each, self.pool(each[None])[0]) for each in features]

    def pool(self, features: Float32) -> Float32:
        return unit(features.mean(axis=1))

    def encode_text(self, texts: Sequence[str]) -> Float32:
        found = [[float(word in text) for word in self.words] for text in texts]
        return unit(np.array(found, np.float32).reshape(-1, 3))

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


class Scene(Planted):
    name, n_frames, words = "planted-scene", 4, WORDS[:3]

    def frames(self, data: np.ndarray) -> Float32:
        return data.mean(axis=(1, 2))


class Move(Planted):
    name, n_frames, words = "planted-move", 6, WORDS[3:]

    def frames(self, data: np.ndarray) -> Float32:
        level = data.mean(axis=(1, 2, 3))
        change = np.gradient(level) if len(level) > 1 else np.zeros(1)
        return np.stack([change > 1, change < -1, abs(change) <= 1], axis=1).astype(np.float32)


class Asking(Scene, ConditionedText):
    """Text that depends on the video: the context chooses the word."""

    name = "asking"

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = super().encode(clips)
        return [Encoded(row.features, row.vector, row.vector[None]) for row in rows]

    def conditioned_text(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        return unit(self.encode_text(texts)[None] + context)


@pytest.fixture(autouse=True)
def planted() -> Iterator[None]:
    """The two encoders, known by name while a test runs."""
    with known(*(("encoder", part.name, part) for part in (Scene, Move))):
        yield


def colour(name: str, change: str, t: int = 8) -> np.ndarray:
    """(T, 16, 16, 3) frames of a colour that rises, falls or stays."""
    frames = np.zeros((t, 16, 16, 3), np.float32)
    level = {"rising": np.linspace(60, 240, t), "falling": np.linspace(240, 60, t)}
    strength = level.get(change, np.full(t, 150.0))
    frames[..., WORDS.index(name)] = strength[:, None, None]
    return frames.astype(np.uint8)


def best(answers: Sequence[object]) -> list[str]:
    """The first label of each answer; how probable it is does not matter here."""
    return [row.predictions[0].label for row in answers if isinstance(row, Classification)]


def nearest(library: Library, text: str) -> str:
    """The folder of the most similar recording."""
    found = max(library.query(text, k=12), key=lambda hit: hit.similarity)
    return Path(found.path).parent.name


# Names


def test_a_name_is_split_at_its_plus_signs():
    known = ["lite", "motion", "openclip", "hf"]
    assert split_parts("lite", known) == ["lite"]
    assert split_parts("openclip:a/b?precision=int8+motion?weight=2", known) == [
        "openclip:a/b?precision=int8",
        "motion?weight=2",
    ]
    assert split_parts("hf:/a+b/c+motion", known) == ["hf:/a+b/c", "motion"]
    assert split_parts("openclip:org/name+mot", known) == ["openclip:org/name", "mot"]


@given(st.floats(1e-3, 1e3), st.sampled_from(["motion", "openclip:a?precision=int8", "hf:a/b"]))
def test_a_weight_comes_back_from_its_name(factor: float, part: str):
    assert split_weight(with_weight(part, factor)) == (part, factor)


def test_a_name_that_cannot_be_joined_costs_one_line():
    for spec, error, message in [
        ("planted-scene+", UsageError, "empty part"),
        ("+planted-move", UsageError, "empty part"),
        ("planted-scene+planted-scene", UsageError, "twice"),
        ("planted-scene?weight=2+planted-scene", UsageError, "twice"),
        ("planted-scene+planted-mov", UnknownNameError, "planted-move"),
        ("planted-scene+planted-move?weight=0", UsageError, "above 0"),
        ("planted-scene+planted-move?weight=much", UsageError, "must be a number"),
    ]:
        caught = refused(error, message, load_encoder, spec)
        assert "\n" not in str(caught.value)


def test_encoders_of_two_sensors_make_a_bundle():
    other = Move()
    other.modality = "wrist"
    assert joined([Scene(), other]).name == "bundle:planted-scene+planted-move"


def test_motion_alone_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "is_installed", lambda: False)
    refused(ModelError, "vlar models get lite-motion", load_encoder, "planted-scene+motion")


# Vectors


def test_either_part_decides_where_the_other_cannot():
    model = Model(load_encoder("planted-scene+planted-move"))
    clips = clips_of(np.stack([colour("red", "rising"), colour("green", "rising")]))
    labels = ["red rising", "green rising", "red falling"]
    assert best(model.classify(clips, labels)) == ["red rising", "green rising"]
    clips = clips_of(np.stack([colour("red", "rising"), colour("red", "falling")]))
    assert best(model.classify(clips, labels)) == ["red rising", "red falling"]
    for part in ("planted-scene", "planted-move"):  # alone, each takes two labels for one
        scores = load_encoder(part).encode_text(labels) @ load_encoder(part).encode(clips)[0].vector
        assert len(set(scores.round(4))) < 3


def test_the_logits_of_the_parts_are_added():
    parts = [Scene(), Move()]
    parts[0].logit_scale, parts[1].logit_scale = 100.0, 10.0
    clips, text = clips_of(colour("blue", "falling")[None]), ["blue still"]
    for factors in ((1.0, 1.0), (1.0, 3.0)):
        both = joined(parts, factors)
        own = [
            factor * part.logit_scale * float(part.encode_text(text)[0] @ row.vector)
            for part, factor in zip(parts, factors, strict=True)
            for row in part.encode(clips)
        ]
        logit = both.logit_scale * float(both.encode_text(text)[0] @ both.encode(clips)[0].vector)
        np.testing.assert_allclose(logit, sum(own), rtol=1e-5)
        assert both.logit_scale == sum(
            f * p.logit_scale for f, p in zip(factors, parts, strict=True)
        )


def test_pool_and_blocks_give_the_vectors():
    both = load_encoder("planted-scene+planted-move")
    assert isinstance(both, JointEncoder)
    for t in (1, 3, 6, both.n_frames):
        clips = clips_of(np.stack([colour("red", "rising", t), colour("blue", "falling", t)]))
        encoded = both.encode(clips)
        vectors = np.stack([row.vector for row in encoded])
        features = np.stack([row.features for row in encoded])
        np.testing.assert_array_equal(both.pool(features), vectors)
        for block, place in zip(both.blocks, both.places, strict=True):
            found = both.encode_blocks(clips, [block.name])
            np.testing.assert_allclose(found[:, place], vectors[:, place], atol=1e-6)
            assert not np.delete(found, np.r_[place], axis=1).any()


def test_a_missing_part_leaves_its_block_zero():
    both = joined([Scene(), Move()])
    black = clips_of(np.zeros((1, 8, 16, 16, 3), np.uint8))
    vector = both.encode(black)[0].vector
    assert not vector[:3].any()
    np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-6)


def test_names_of_blocks_that_two_parts_share_differ():
    second = Move()
    second.blocks = (Block("planted-scene", 3, 1.0, True),)
    both = joined([Scene(), second])
    assert [block.name for block in both.blocks] == ["planted-scene", "planted-scene-2"]
    assert both.block_fingerprints().keys() == {block.name for block in both.blocks}


def test_text_that_depends_on_the_video_stays_so():
    both = joined([Asking(), Move()])
    clips = clips_of(np.stack([colour("red", "rising"), colour("blue", "still")]))
    context = np.stack([row.context for row in both.encode(clips) if row.context is not None])
    assert isinstance(both, ConditionedText)
    found = both.conditioned_text(["green rising"], context)
    assert found.shape == (2, 1, 6)
    assert abs(found[0] - found[1]).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)
    other = Asking()
    other.fingerprint = "another"
    refused(UsageError, "depend on the video", joined, [Asking(), other])


# Frames


def test_each_part_is_given_the_frames_that_it_would_get_alone(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    videos.make_video(path, n_frames=50)
    both = joined([Scene(), Move()])
    assert [part.n_frames for part in both.sampling.parts] == [4, 6]
    assert both.n_frames == 10
    source = reader("video")
    spans = [Window(0.0, 1.2), Window(0.6, 1.8)]
    for clip in source.read_windows(path, spans, both.sampling):
        assert isinstance(clip, Clip)
        both.encode([clip])
    for part in both.parts:
        assert isinstance(part, Planted)
        alone = [source.read_clip(path, span, part.sampling) for span in spans]
        for given_clip, own in zip(part.given, alone, strict=True):
            np.testing.assert_array_equal(given_clip.times_s, own.times_s)
            np.testing.assert_array_equal(given_clip.data, own.data)


def test_a_session_gives_the_vectors_of_encode(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    videos.make_video(path, n_frames=50)
    models.save_openclip(tmp_path / "clip", models.openclip_config(quick_gelu=True))
    both = load_encoder(f"openclip:{tmp_path / 'clip'}+planted-move")
    spans = [Window(0.0, 1.0), Window(0.5, 1.5)]
    clips = list(reader("video").read_windows(path, spans, both.sampling))
    session = both.session(features=True)
    for row, alone in zip(session.encode(clips), both.encode(clips), strict=True):
        np.testing.assert_allclose(row.vector, alone.vector, atol=1e-5)
        np.testing.assert_allclose(row.features, alone.features, atol=1e-4)
    clip_only = load_encoder(f"openclip:{tmp_path / 'clip'}")
    own = clip_only.encode([reader("video").read_clip(path, spans[0], clip_only.sampling)])[0]
    block = both.encode(clips[:1])[0].vector[: clip_only.dim]
    np.testing.assert_allclose(unit(block[None])[0], own.vector, atol=1e-6)


# Bodies


class FakePose:
    """Gives the bodies of a made figure, whatever the frames: its size tells which."""

    def __init__(self) -> None:
        pass

    def stream(self) -> FakePose:
        return self

    def features(self, frames: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        del times_s
        figure = walker(1.0, 1.8) if frames[0, 0, 0, 0] < 100 else Figure(n_frames=48, pitch=30.0)
        found = figure_rows(figure)[: len(frames)]
        return found if frames[0, 0, 0, 0] < 200 else np.zeros_like(found)


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "is_installed", lambda: True)
    monkeypatch.setattr(body, "PoseExtractor", FakePose)


@pytest.mark.slow
@pytest.mark.usefixtures("bodies")
def test_lite_is_its_two_parts_joined():
    whole, both = load_encoder("lite"), load_encoder("lite-objects+motion")
    assert [b.name for b in both.blocks] == [b.name for b in whole.blocks]
    assert both.logit_scale == whole.logit_scale
    assert both.sampling == whole.sampling
    assert both.frame_blocks == whole.frame_blocks
    assert both.block_fingerprints() == whole.block_fingerprints()
    draw = np.random.default_rng(0)
    for level in (50, 150, 250):  # two figures, and nobody
        frames = draw.integers(level, level + 5, (1, 32, 24, 32, 3), dtype=np.uint8)
        clips = clips_of(frames)
        for row, own in zip(both.encode(clips), whole.encode(clips), strict=True):
            np.testing.assert_allclose(row.vector, own.vector, atol=1e-6)
            np.testing.assert_array_equal(row.features, own.features)
    texts = ["walk", "riding a bike", "qqq", "", "someone waves one hand slowly"]
    np.testing.assert_allclose(both.encode_text(texts), whole.encode_text(texts), atol=1e-6)
    assert both.explain("walk").phrases == ("walk",)


@pytest.mark.usefixtures("bodies")
def test_motion_is_of_unit_length_and_its_block_zero_without_a_body():
    motion = MotionEncoder()
    seen, nobody = motion.encode(
        clips_of(np.stack([np.full((32, 8, 8, 3), v, np.uint8) for v in (50, 250)]))
    )
    assert np.linalg.norm(seen.vector[:-1]) > 0.5
    assert not nobody.vector[:-1].any()
    assert nobody.vector[-1] == 1
    texts = motion.encode_text(["walk", "qqq"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    assert texts[0, -1] == 0
    assert texts[1, -1] == 1
    both = joined([Scene(), motion])
    assert not both.encode_text(["red qqq"])[0, 3:].any()


# What stands on an encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos ``COLOUR-CHANGE-NUMBER.avi`` without loss."""
    import av

    place = tmp_path_factory.mktemp("colours")
    for name in WORDS[:2]:
        for change in WORDS[3:5]:
            for number in range(3):
                path = place / f"{name} {change}" / f"{number}.avi"
                path.parent.mkdir(exist_ok=True)
                with av.open(str(path), "w") as container:
                    stream = container.add_stream("ffv1", rate=10)
                    stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
                    for picture in colour(name, change, 12 + number):
                        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                        container.mux(stream.encode(frame.reformat(format="bgr0")))
                    container.mux(stream.encode(None))
    return place


def test_a_library_of_one_part_is_brought_up_to_both(folder: Path, tmp_path: Path):
    place = tmp_path / "a.vlar"
    with Library(place, "planted-scene") as library:
        assert library.add(folder).added == 12
    with Library(place, "planted-scene+planted-move") as library:
        report = library.upgrade()
        assert (report.kept, report.computed) == (("planted-scene",), ("planted-move",))
    with Library(place) as library:  # it names the joined model now
        assert nearest(library, "green falling") == "green falling"
    fresh = tmp_path / "b.vlar"
    with Library(fresh, "planted-scene+planted-move") as library:
        library.add(folder)
        assert nearest(library, "red rising") == "red rising"
    with Library(fresh) as library:  # the union of frames is part of the library
        other = tmp_path / "copy.avi"
        other.write_bytes((folder / "red rising" / "0.avi").read_bytes()[:-1])
        assert library.add(other).added == 1


def test_a_library_that_states_impossible_parts_is_damaged():
    for text in [
        "[[0,null,null]]", "[[8,2.0,null]]", '{"a":1}', "[[1e99,null,null]]", "[", "null",
        "[[8,NaN,3]]",
    ]:  # fmt: skip
        refused(LibraryError, "parts is", manifest._parts, text, Path("a.vlar"))
        assert manifest._parts("[[8, null, null], [16, 2.0, 64]]", Path("a.vlar")) == (
            Sampling(8),
            Sampling(16, fps=2.0, max_frames=64),
        )


def test_few_shot_learns_from_both_and_is_saved(folder: Path, tmp_path: Path):
    model = load("planted-scene+planted-move?weight=1.5")
    assert set(available_terms(model.encoder.frame_blocks)) >= {"mean", "absdiff"}
    mine = model.adapt(folder)
    mine.save(tmp_path / "mine")
    again = load(tmp_path / "mine")
    assert again.encoder.name == "planted-scene+planted-move?weight=1.5"
    assert again.fingerprint == model.fingerprint
    for label in ("red rising", "green falling"):
        clip = folder / label / "2.avi"
        assert best([again.classify(clip)]) == [label]
        assert (
            again.classify(clip).to_dict()["predictions"]
            == mine.classify(clip).to_dict()["predictions"]
        )


def test_calibrate_fits_the_weights(folder: Path, tmp_path: Path):
    parts = [Scene(), Move()]
    parts[1].logit_scale = 0.05  # so quiet that it never decides
    both = joined(parts)
    labels = ("red rising", "red falling", "green rising")
    items = [
        SupportItem(path, None, (label,), str(path))
        for label in labels
        for path in sorted((folder / label).iterdir())
    ]
    model = Model(both).calibrate(Support(labels, tuple(items), folder))
    assert isinstance(model.encoder, JointEncoder)
    assert model.encoder.factors[1] > 4
    assert model.encoder.name.startswith("planted-scene+planted-move?weight=")


def test_weights_stay_where_the_clips_do_not_decide():
    both = joined([Scene(), Move()])
    draw = np.random.default_rng(0)
    vectors, concepts = unit(draw.normal(size=(30, 6))), unit(draw.normal(size=(4, 6)))
    chance = fit_factors(both, vectors, concepts, draw.integers(0, 4, 30))
    assert chance == both.factors
    same = np.repeat(vectors[:1], 20, axis=0)
    assert fit_factors(both, same, concepts, np.zeros(20, int)) != ()
