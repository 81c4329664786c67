"""Records of windows: what another model needs of them answers for files that are gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.library.fakes import tiny_video
from tests.unit.library.maintain.test_upgrade import WIDTH, PartModel, Towers, vectors
from tests.unit.pose.figure import ASPECT, walker
from tests.unit.pose.test_packing import bodies
from vlar.encoders.base import Encoder, FrameBlock, load_encoder
from vlar.encoders.session import Session
from vlar.errors import UsageError
from vlar.library.ingest.settings import check_keep
from vlar.library.library import Library
from vlar.library.manifest import LibraryManifest
from vlar.library.records import RecordPacker, clip_of, inputs_of, needed_by, packed
from vlar.library.store.annotations import KeptFrames
from vlar.pose import networks
from vlar.pose.features import KEPT_BODIES, POSE_WIDTH, features_from_tracks
from vlar.pose.packing import KEPT_SCORES
from vlar.types import Clip, Encoded, Sampling, Window

FRAMES = 16


def tracked(clip: Clip) -> np.ndarray:
    """Bodies of a window that depend on what it shows."""
    rows = bodies(1, len(clip.data))
    rows[:, : POSE_WIDTH - 6] *= np.float32(clip.data.mean() / 255)
    return rows


class BodyTowers(Towers):
    """The block ``extra0`` is that of bodies: a mean of their joints."""

    frame_blocks = (FrameBlock("pose", POSE_WIDTH, "pose"),)
    scores_made_by = ""

    def inputs(self, names: list[str]) -> frozenset[str]:
        return frozenset({"pictures"} if "base" in names else {"bodies"})

    def session(self, *, features: bool = True) -> Session:
        def encode(clips: list[Clip]) -> list[Encoded]:
            rows = self.model.encode(clips)
            return [replace(r, features=tracked(c)) for r, c in zip(rows, clips, strict=True)]

        return Session(encode, self.encode_blocks)


class BodyModel(PartModel):
    """A fake with a block of bodies beside that of pictures."""

    n_frames = FRAMES

    def __init__(self, extra: int) -> None:
        super().__init__(extra)
        self.encoder = BodyTowers(self, extra)

    def whole(self, clip: Clip) -> np.ndarray:
        rows = super().whole(clip)
        if self.encoder.extra:
            features = clip.meta.get(KEPT_BODIES)
            joints = (tracked(clip) if features is None else features)[:, :WIDTH].mean(axis=0)
            rows[-WIDTH:] = np.sqrt(0.5) * joints / max(np.linalg.norm(joints), 1e-9)
        return rows


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(networks, "is_installed", lambda: True)
    return [tiny_video(tmp_path / "videos" / f"{i}.mp4", i) for i in range(2)]


def test_bodies_answer_for_files_that_are_gone_and_pictures_do_not(
    tmp_path: Path, videos: list[Path], caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "vlar")
    with Library(tmp_path / "l.vlar", BodyModel(0)) as library:
        library.add(videos[0], keep="records")
        assert "bodies and classes of each window are kept: some 13 kB" in caplog.text
        library.add(videos[1], keep="frames")
    with Library(tmp_path / "new.vlar", BodyModel(1)) as library:
        library.add(videos)
    shutil.rmtree(tmp_path / "videos")
    with Library(tmp_path / "l.vlar", BodyModel(1)) as library:
        report = library.upgrade()
        assert (report.kept, report.from_frames, report.videos) == (("base",), 3, 1)
        assert [row.path for row in report.failed] == [videos[1]]
        assert "no bodies kept of it" in report.failed[0].message
    made, expected = vectors(tmp_path / "l.vlar"), vectors(tmp_path / "new.vlar")
    for key, row in expected.items():
        if key[0] == str(videos[0]):
            np.testing.assert_allclose(made[key], row, atol=2e-3)


def test_what_cannot_be_kept_is_refused_before_anything_is_read(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    with Library(tmp_path / "l.vlar", PartModel(0)) as library:
        refused(
            UsageError,
            "reads 2 frames.*16; give --keep frames",
            library.add,
            videos,
            keep="records",
        )
        assert len(library) == 0
    manifest = LibraryManifest.new(BodyModel(0), "lite", 4.0, 2.0)
    check_keep("records", manifest, to_shards=False)
    monkeypatch.setattr(networks, "is_installed", lambda: False)
    refused(UsageError, "models get lite-motion", check_keep, "records", manifest, to_shards=False)
    refused(UsageError, "Parquet", check_keep, "records", manifest, to_shards=True)


def clip_with(meta: dict | None = None) -> Clip:
    draw = np.random.default_rng(3)
    coarse = draw.integers(0, 256, (32, 4, 6, 3)).astype(np.uint8)
    data = coarse.repeat(16, axis=1).repeat(16, axis=2)
    return Clip(Path("a.mp4"), Window(0, 4), "video", data, np.arange(32) / 8, meta=meta or {})


def test_a_record_of_anybody_is_the_picture_alone_or_nothing():
    clip = clip_with()
    picture = packed(clip)
    like, sampling = replace(clip, data=clip.data[:0]), Sampling(32)
    for tail in (b"", b"BODY", b"BODY\xff\xff\xff\xffxx", b"NEWS\4\0\0\0abcd", b"BODY\2\0\0\0xx"):
        unpacked = clip_of(KeptFrames(0, 4, picture + tail), like, sampling)
        assert unpacked is not None
        assert inputs_of(unpacked) == {"pictures"}
    assert clip_of(KeptFrames(0, 4, b"RIFF"), like, sampling) is None
    assert needed_by(object(), ["a"]) == {"pictures"}  # type: ignore[arg-type]


def real(name: str) -> Encoder:
    if not networks.is_installed():
        pytest.skip("lite-motion was not fetched")
    return load_encoder(name)


def test_lite_takes_bodies_and_classes_of_a_record():
    encoder = real("lite")
    (row,) = encoder.encode([clip_with()])
    figure = walker()
    rows = features_from_tracks(figure.tracks(), figure.time, ASPECT)
    row.features[:, -POSE_WIDTH:] = rows[:32]
    record = RecordPacker("records", encoder).packed(clip_with(), row)
    like = replace(clip_with(), data=np.zeros(0))
    clip = clip_of(KeptFrames(0, 4, record), like, Sampling(32))
    assert clip is not None
    assert inputs_of(clip) == {"pictures", "bodies"}
    expected = encoder.pool(row.features[None])[0]
    (again,) = encoder.encode([clip])
    assert float(again.vector @ expected) == pytest.approx(1, abs=2e-3)
    unseen = row.features.copy()
    unseen[:, -POSE_WIDTH:] = 0
    assert float(encoder.pool(unseen[None])[0] @ expected) < 0.9
    made_by, scores = clip.meta[KEPT_SCORES]
    changed = replace(clip, meta={**clip.meta, KEPT_SCORES: (made_by, -scores)})
    assert float(encoder.encode([changed])[0].vector @ expected) < 0.9
    changed.meta[KEPT_SCORES] = ("0" * 16, -scores)  # of other networks: the pictures are read
    assert float(encoder.encode([changed])[0].vector @ expected) > 0.95


def test_blocks_state_their_inputs():
    lite, motion = real("lite"), real("motion")
    assert lite.inputs(["objects"]) == {"pictures"}
    assert lite.inputs(["motion", "unseen_body"]) == {"bodies"}
    assert lite.inputs(["objects", "motion"]) == {"pictures", "bodies"}
    assert motion.inputs(["motion"]) == {"bodies"}
    joint = load_encoder("lite-objects+motion")
    assert joint.inputs([block.name for block in joint.blocks[:1]]) == {"pictures"}
    assert joint.inputs([block.name for block in joint.blocks]) == {"pictures", "bodies"}
    if networks.has_hands():
        hands = load_encoder("lite-hands")
        assert hands.inputs(["motion"]) == {"bodies"}
        assert "hands" in hands.inputs(["unseen_body"])
