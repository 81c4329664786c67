from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clips import clips_of, features_of, vectors_of
from vlar.encoders.base import load_encoder
from vlar.encoders.lite import encoder
from vlar.encoders.lite import towers as lite_towers
from vlar.encoders.lite import towers as lite_weights
from vlar.encoders.lite.encoder import LiteEncoder
from vlar.errors import ModelError, UsageError
from vlar.model.model import Model

HEAVY = ("torch", "timm", "transformers", "sentence_transformers", "onnx", "pydantic")


@pytest.fixture
def lite(lite_model: Model) -> LiteEncoder:
    assert isinstance(lite_model.encoder, LiteEncoder)
    return lite_model.encoder


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_takes_no_argument():
    with pytest.raises(UsageError, match="'lite' takes no argument, got 'big'"):
        load_encoder("lite:big")


def test_importing_it_is_light():
    code = "import sys, vlar.encoders.lite.encoder; print([m for m in sys.modules if m in {})])"
    modules = (*HEAVY, "onnxruntime", "tokenizers", "PIL")
    assert python(code.replace("{})", f"{modules!r}")) == "[]"


def test_once_prepared_it_runs_without_the_training_libraries(lite: LiteEncoder):
    code = (
        "import sys, numpy as np\n"
        "from vlar.media.lookup import reader\n"
        "from vlar.encoders.base import load_encoder\n"
        "encoder = load_encoder('lite')\n"
        "encoder.encode_text(['riding a bike'])\n"
        "encoder.encode(reader('video').blank(encoder.sampling)[:1])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    assert python(code) == "[]"


def test_the_fingerprint_covers_weights_and_settings(
    lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch
):
    before = lite.block_fingerprints()["objects"]
    assert encoder._objects_fingerprint() == before
    monkeypatch.setattr(encoder.space, "SOFTMAX_SCALE", 0.5)
    assert encoder._objects_fingerprint() != before
    assert LiteEncoder.from_spec().fingerprint != lite.fingerprint
    monkeypatch.undo()
    monkeypatch.setattr(encoder.space, "KIND_WEIGHTS", {"name": 1.0})
    other = LiteEncoder.from_spec()
    assert other.fingerprint != lite.fingerprint
    assert other.block_fingerprints() == lite.block_fingerprints()  # only texts differ
    monkeypatch.undo()
    assert encoder._text_fingerprint("digest") != encoder._text_fingerprint("other")


def test_a_changed_weights_file_ends_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "w.pth"
    broken.write_bytes(b"not these weights")
    monkeypatch.setattr(lite_weights.WeightFile, "path", lambda _: broken)
    with pytest.raises(ModelError, match="pip install"):
        lite_towers.ImageTower(lite_towers.IMAGE_NETWORKS[0])
    with pytest.raises(ModelError, match="pip install"):
        lite_towers.TextTower()


def test_frame_features_hold_what_the_blocks_say(lite: LiteEncoder):
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 60, 80, 3), dtype=np.uint8)
    features = features_of(lite, frames)
    towers = [lite_towers.ImageTower(network) for network in lite_towers.IMAGE_NETWORKS]
    pairs = [tower(frames[0, 1]) for tower in towers]
    np.testing.assert_allclose(
        features[0, 1, :1000], np.mean([scores for scores, _ in pairs], axis=0), atol=1e-6
    )
    np.testing.assert_array_equal(
        features[0, 1, 1000:3560], np.concatenate([activations for _, activations in pairs])
    )
    names = [block.name for block in lite.frame_blocks]
    assert names[:4] == ["objects", "appearance", "motion", "direction"]


def test_a_read_only_cache_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "file"))
    network = lite_towers.IMAGE_NETWORKS[0]
    frame = np.full((20, 20, 3), 90, dtype=np.uint8)
    from_memory = lite_towers.ImageTower(network)(frame)
    monkeypatch.undo()
    np.testing.assert_array_equal(from_memory[0], lite_towers.ImageTower(network)(frame)[0])


def test_real_clips_are_recognised_above_chance(lite: LiteEncoder, real_videos: Path):
    """Twelve clips whose objects speak for the action; chance is one of them."""
    import csv

    from vlar.media.video.decode import read_clip

    with (real_videos / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] == "ucf101"]
    labels = sorted({row["readable_label"] for row in rows})[::6]
    chosen = {row["readable_label"]: row for row in rows if row["readable_label"] in labels}
    clips = [read_clip(real_videos / chosen[label]["path"], n_frames=2) for label in labels]
    videos = np.concatenate([vectors_of(lite, clip.data[None]) for clip in clips])
    best = (videos @ lite.encode_text(labels).T).argmax(axis=1)
    assert (best == np.arange(len(labels))).mean() >= 0.3


def test_a_repeated_frame_is_seen_once(lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch):
    first, second = np.random.default_rng(1).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    clip = np.stack([first, first, second, first])[None]
    alone = np.stack([features_of(lite, frame[None, None])[0, 0] for frame in clip[0]])
    calls: list[int] = []
    tower = lite._images[0]

    def counted(frame: np.ndarray) -> object:
        calls.append(1)
        return tower(frame)

    monkeypatch.setattr(lite, "_images", [counted, *lite._images[1:]])
    np.testing.assert_array_equal(features_of(lite, clip)[0, :, :3560], alone[:, :3560])
    assert len(calls) == 3


@given(st.integers(0, 200))
def test_every_part_of_a_clip_is_looked_at_once(n_frames: int):
    every, looks = encoder._every(n_frames), encoder._sampled_frames(n_frames)
    assert [look // every for look in looks] == list(range(-(-n_frames // every)))
    if n_frames % (2 * every) == 0:  # the same pictures backwards as forwards
        assert [n_frames - 1 - look for look in reversed(looks)] == looks


@pytest.mark.parametrize("shown", [range(32), [0, *np.repeat(range(1, 17), 2)[:31]], [5] * 32])
def test_a_look_shows_its_own_frame(
    lite: LiteEncoder, monkeypatch: pytest.MonkeyPatch, shown: list[int]
):
    """Also where frames repeat, as in a video of few frames a second."""

    def grey(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        level = np.float32(frame.mean())
        return np.full(1000, level), np.full(1280, level)

    monkeypatch.setattr(lite, "_images", [grey, grey])
    monkeypatch.setattr(lite, "body", None)
    clip = np.zeros((32, 8, 8, 3), np.uint8) + np.array(shown, np.uint8)[:, None, None, None]
    features = lite.encode(clips_of(clip[None]))[0].features
    expected = np.repeat(np.array(shown)[encoder._sampled_frames(32)], 2)
    np.testing.assert_array_equal(features[:, [0, 999, 1000, 3559]].T, [expected] * 4)


def test_it_runs_on_the_cpu_only():
    with pytest.raises(UsageError, match="runs on the CPU in float32, got device 'cuda'"):
        load_encoder("lite", device="cuda")
