"""``Model.adapt`` with trained methods: temporal on a fake encoder, TC-CLIP on a tiny CLIP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests import videos
from tests.unit.encoders.clip import models
from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from vlar import registry
from vlar.encoders.clip.towers import weights_hash
from vlar.errors import ModelError, SupportError, UnknownNameError
from vlar.heads.fewshot.base import FewShotHead
from vlar.heads.fewshot.stacking import fit_stacking
from vlar.heads.signatures import signature
from vlar.model.model import Model
from vlar.training import fit, hyperparameters
from vlar.training.fusion_weights import train_on
from vlar.training.hyperparameters import load_recipe
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask, attach

SETTINGS = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}


def colour(value: int):
    def picture(index: int):
        frame = np.full((48, 64, 3), 90, np.uint8)
        frame[10:30, (index * 3) % 40 : (index * 3) % 40 + 16] = (value, 255 - value, 60)
        return frame

    return picture


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for label, value in (("red_bar", 250), ("green_bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            videos.make_video(folder / label / f"{i}.mp4", 8, picture=colour(value + (-i or i)))
    return folder


def test_temporal_beside_a_closed_form():
    features, examples = ordered_clips(16)
    plan = replace(load_recipe("temporal/adapt"), epochs=30, batch=16, learning_rate=5e-3)
    task, *_ = TrainingTask(FakeEncoder(), "temporal", plan, "r", SETTINGS).variants()
    source = FeatureSource(features)
    trained = fit._fitted(task, *train_on(task, examples, source))
    weights = fit.stacking_weights(task, examples, source, long=False)
    fitted = fit._stacked(trained, examples, features, weights)
    assert fitted.report.steps == 30
    assert 0 <= fitted.report.closed_weight <= 1
    assert fitted.report.trained_weight > 0
    assert fitted.report.held_out > 0.8
    assert fitted.head.labels == LABELS
    config, state = fitted.head.config(), fitted.head.state()
    again = FewShotHead.from_state(config, state)
    rows = signature(features[:3], FakeEncoder.frame_blocks, fitted.head.kind)
    cosines = np.array([[0.2, 0.5], [0.9, 0.1], [0.4, 0.4]], np.float32)
    np.testing.assert_array_equal(again.logits(rows, cosines), fitted.head.logits(rows, cosines))


def test_the_seed_draws_the_start():
    starts = [attach("temporal", FakeEncoder(), SETTINGS, seed=seed) for seed in (0, 1, 1)]
    new, other, same = (start.state_dict() for start in starts)
    plain = registry.get("adapter", "temporal").attach(FakeEncoder(), SETTINGS).state_dict()
    assert {name for name in new if not np.array_equal(new[name], plain[name])} == set()
    assert {name for name in new if not np.array_equal(other[name], same[name])} == set()
    drawn = {name for name in new if not np.array_equal(new[name], other[name])}
    assert any(name.endswith("weight") for name in drawn)


def test_held_out_examples_decide_who_may_speak():
    random = np.random.default_rng(0)
    target = random.integers(0, 3, 60)
    right, noise = np.eye(3)[target] * 4, random.normal(size=(60, 3))
    assert fit_stacking(noise, right, target).trained > fit_stacking(right, noise, target).trained
    assert fit_stacking(right, noise, target).closed > fit_stacking(noise, right, target).closed
    nobody = fit_stacking(noise[:0], right[:0], target[:0])
    assert (nobody.closed, nobody.trained) == (1.0, 0.25)


def test_tc_clip_is_trained_saved_and_loaded(
    support: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "clip"
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    model = vlar.load(f"openclip:{folder}")
    before = weights_hash(model.encoder.towers.model)
    short = replace(load_recipe("general/adapt"), epochs=2)
    monkeypatch.setattr(hyperparameters, "recipes", lambda: {"general/adapt": short})
    adapted = model.adapt(support, method="tc-clip")
    assert weights_hash(model.encoder.towers.model) == before
    assert adapted.labels == ("green_bar", "red_bar")
    assert adapted.report.training.steps == 2
    saved = adapted.save(tmp_path / "mine")
    assert (saved / "adapter.safetensors").stat().st_size < folder_size(folder) / 2
    loaded = vlar.load(saved)
    clip = support / "red_bar" / "0.mp4"
    ours, theirs = adapted.classify(clip), loaded.classify(clip)
    assert ours.predictions == theirs.predictions
    total = sum(p.probability for p in ours.predictions) + ours.unknown_probability
    assert total == pytest.approx(1, abs=1e-4)


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_wrong_pairings_and_names(support: Path, lite_model: Model):
    with pytest.raises(ModelError, match=r"'tc-clip' works inside a ViT .* 'lite' shows none"):
        lite_model.adapt(support, method="tc-clip")
    with pytest.raises(UnknownNameError, match="did you mean 'temporal'"):
        lite_model.adapt(support, method="temporl")


def test_a_label_without_readable_clips_ends_a_training(tmp_path: Path, support: Path):
    folder = tmp_path / "clip"
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    broken = tmp_path / "support"
    for label in ("a", "b"):
        (broken / label).mkdir(parents=True)
    (broken / "a" / "x.mp4").write_bytes((support / "red_bar" / "0.mp4").read_bytes())
    (broken / "b" / "y.mp4").write_bytes(b"no video")
    with pytest.raises(SupportError, match="no example of 'b'"):
        vlar.load(f"openclip:{folder}").adapt(broken, method="tc-clip")
