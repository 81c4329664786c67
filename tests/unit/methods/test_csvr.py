"""Three terms without labels: what each computes, that each can be left out, and their controls."""

# pyright: basic
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refused
from tests.unit.training.fakes import LABELS, FakeEncoder, ordered_clips
from tests.videos import make_video
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError, UsageError
from vlar.methods.csvr.objective import (
    Csvr,
    _stored,
    key_frames,
    key_shares,
    match_loss,
    pose_columns,
    rows_at,
    spans,
)
from vlar.methods.temporal.adapter import Temporal
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.objectives import Step, TrainingContext
from vlar.training.trainable import TrainingBatch, TrainingOutput

SMALL = {"width": 16, "heads": 2, "components": 6}


class Trial:
    """An adapter and the objective on one batch, step by step."""

    def __init__(self, adapter: Temporal, features: np.ndarray, **settings: Any) -> None:
        torch.manual_seed(0)
        adapter.fit_inputs(features)
        self.adapter, self.classes = adapter, adapter.training_classes(LABELS)
        self.named = adapter.trainable()
        self.objective = Csvr.from_settings({"hidden": 16, **settings})
        targets = torch.eye(2)[torch.arange(len(features)) % 2]
        self.batch = TrainingBatch(torch.from_numpy(adapter.training_inputs(features)), targets)
        self.objective.begin(
            TrainingContext(
                adapter, self.classes, LABELS, targets.numpy(), (), 0, Hyperparameters(), 1,
                torch.device("cpu"),
            )
        )  # fmt: skip

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.adapter.training_step(self.batch.unlabelled(inputs), self.classes)

    def terms(self) -> dict[str, torch.Tensor]:
        output = self.adapter.training_step(self.batch, self.classes)
        random = np.random.default_rng(0)
        return dict(self.objective.terms(Step(0, 0.5, self.batch, output, self.forward, random)))

    def run(self, steps: int) -> list[dict[str, float]]:
        own = [] if self.objective.module is None else list(self.objective.module.parameters())
        optimiser = torch.optim.Adam([p for _, p in self.named] + own, lr=1e-2)
        told: list[dict[str, float]] = []
        for _ in range(steps):
            terms = self.terms()
            optimiser.zero_grad()
            sum(terms.values()).backward()
            optimiser.step()
            told.append({name: float(value.detach()) for name, value in terms.items()})
        return told


def trial(**settings: Any) -> Trial:
    features, _ = ordered_clips(12)
    return Trial(Temporal.attach(FakeEncoder(), {**SMALL, "dropout": 0.0}), features, **settings)


def test_key_frames_follow_the_largest_steps():
    frames = torch.zeros(2, 6, 3)
    frames[0, 2:] = 5
    frames[0, 5:] = 7
    frames[1, 3:] = 1
    assert key_frames(frames, 3).tolist()[0] == [0, 2, 5]
    assert key_frames(frames, 2).tolist() == [[0, 2], [0, 3]]
    assert key_frames(frames, 1).tolist() == [[0], [0]]


@pytest.mark.parametrize(("gop", "start_s"), [(12, 0.0), (30, 1.5)])
def test_frames_that_a_file_stores_whole_are_key_frames(tmp_path: Path, gop: int, start_s: float):
    video = make_video(tmp_path / "a.mp4", 60, gop=gop, start_s=start_s)
    np.testing.assert_allclose(key_shares(video), np.arange(0, 60, gop) / 60, atol=1e-3)
    assert rows_at(key_shares(video), 10, 2) == [0, {12: 8, 30: 5}[gop]]
    assert rows_at([0.0, 0.1], 8, 2) == []
    (tmp_path / "b.mp4").write_text("not a video")
    assert key_shares(tmp_path / "b.mp4") == []
    assert key_shares(tmp_path / "absent.mp4") == []


def test_packets_go_before_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first clip has key frames at a half, the second one alone, the third is a span."""
    paths = [make_video(tmp_path / f"{gop}.mp4", 60, gop=gop) for gop in (30, 60)]
    features, _ = ordered_clips(6)
    trial = Trial(Temporal.attach(FakeEncoder(), SMALL), features[:3], poses=0.0, frames=0.0)
    objective, width = trial.objective, trial.batch.inputs.shape[2]
    inputs = torch.zeros(3, 8, width)
    inputs[:, 6:] = 1.0  # the only step
    still = torch.arange(8.0)[None, :, None].expand(3, 8, width)
    facts = [{}, {}, {"window_s": "0 to 1"}]
    objective.stored = _stored([*paths, paths[0]], facts)
    batch = replace(trial.batch, inputs=inputs, views={"still": still}, rows=(0, 1, 2))
    asked: list[Any] = []
    monkeypatch.setattr(
        "vlar.methods.csvr.objective.vectors_of", lambda _, x: asked.append(x) or torch.eye(3)
    )
    output = TrainingOutput(torch.zeros(3, 2), {}, vectors=torch.eye(3))
    objective.terms(Step(0, 0.5, batch, output, trial.forward, np.random.default_rng(0)))
    assert asked[0][..., 0].tolist() == [[0, 4], [0, 1], [0, 1]]


def test_the_match_is_a_contrast_in_both_directions():
    eye = torch.eye(3)
    wanted = math.log(1 + 2 * math.exp(-2))
    assert float(match_loss(eye, eye, 0.5)) == pytest.approx(wanted, abs=1e-6)
    assert float(match_loss(eye, eye.roll(1, 0), 0.5)) > 2 + wanted - 1e-6
    assert float(match_loss(eye, torch.ones(3, 3), 0.5)) == pytest.approx(math.log(3), abs=1e-6)


def test_spans_are_means_of_times_in_order():
    frames = torch.arange(8.0)[None, :, None].expand(1, 8, 2)
    assert spans(frames).tolist() == [[0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 6.5, 6.5]]
    assert spans(frames[:, :1]).tolist() == [[0.0] * 8]


TERMS = {"match": {"match"}, "frames": {"rebuild", "next"}, "poses": set()}  # poses: there are none


@pytest.mark.parametrize("left_out", TERMS)
def test_each_term_can_be_left_out(left_out: str):
    found = trial(**{left_out: 0.0}).terms()
    assert found.keys() == {"match", "rebuild", "next"} - TERMS[left_out]
    assert all(bool(torch.isfinite(value)) for value in found.values())


def test_what_is_predicted_is_learned():
    told = trial(match=0.0).run(60)
    assert told[-1]["rebuild"] < 0.5 * told[0]["rebuild"]
    assert told[-1]["next"] < 0.5 * told[0]["next"]


def test_shuffled_key_frames_lose():
    own, other = (trial(frames=0.0, shuffled=shuffled) for shuffled in (False, True))
    own.run(40)
    other.run(40)
    other.objective.shuffled = False  # both are asked for their own key frames
    assert own.terms()["match"].item() < 0.7 * other.terms()["match"].item()


def test_later_poses_are_predicted_against_a_critic():
    encoder = load_encoder("skeleton")
    adapter = Temporal.attach(encoder, {**SMALL, "dropout": 0.0})
    random = np.random.default_rng(0)
    features = random.normal(size=(6, 8, encoder.frame_dim)).astype(np.float32)
    columns = pose_columns(adapter)
    assert columns is not None
    assert columns.stop - columns.start == SMALL["components"]
    assert pose_columns(Temporal.attach(FakeEncoder(), SMALL)) is None
    made = Trial(adapter, features, match=0.0, frames=0.0)
    assert made.objective.module.keys() == {"generator", "critic"}
    told = made.run(1)[0]
    assert told.keys() == {"pose", "critic"}
    assert told["critic"] == pytest.approx(0.1 * 2 * math.log(2), rel=0.5)


def test_labels_wait_for_their_share_of_the_training():
    objective = Csvr.from_settings({"alone": 0.5, "ratio": 2.0})
    assert [objective.base_weight(at) for at in (0.0, 0.49, 0.5, 1.0)] == [0, 0, 1, 1]
    assert objective.unlabelled_per_clip == 2.0


def test_refusals():
    refused(UsageError, "no term", trial, match=0.0, frames=0.0, poses=0.0)
    refused(ModelError, "keys is 0", Csvr.from_settings, {"keys": 0})
    refused(ModelError, "alone is 1", Csvr.from_settings, {"alone": 1.0})
    features, _ = ordered_clips(4)
    short = Trial(Temporal.attach(FakeEncoder(), SMALL), features[:, :1])
    refused(UsageError, "clips have 1 frame", short.terms)
