"""EZ-CLIP learns, and only what is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clips import clips_of, features_of, vectors_of
from tests.unit.encoders.clip import models
from vlar.adapters.views import require_blocks
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError
from vlar.methods.ez_clip.adapter import EzClip
from vlar.methods.ez_clip.network import (
    BlockDropout,
    agreement,
    drops,
    motion_loss,
    softened_contrastive,
)
from vlar.training.trainable import Trainable, TrainingBatch

LABELS = ["riding a bike", "cooking", "opening the door"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return require_blocks(load_encoder(f"openclip:{folder}"), "test")


def batch(targets: list[list[float]], n_frames: int = 4) -> TrainingBatch:
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(len(targets), n_frames, 3, 32, 32, generator=random)
    return TrainingBatch(inputs, torch.tensor(targets))


ONE_HOT = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_a_few_steps_lower_the_loss_and_change_the_adapter_alone(encoder: TorchEncoder) -> None:
    before = weights_hash(encoder.towers.model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = EzClip.attach(encoder, {"n_frames": 4})
    assert isinstance(adapter, Trainable)
    start = {name: array.copy() for name, array in adapter.state_dict().items()}
    fingerprint = adapter.fingerprint
    named = dict(adapter.trainable())
    assert set(named) == set(start)
    optimiser = torch.optim.AdamW(named.values(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.2)
    classes, seen = adapter.training_classes(LABELS), batch(ONE_HOT)
    found: list[dict[str, float]] = []
    for _ in range(12):
        output = adapter.training_step(seen, classes)
        found.append({name: loss.item() for name, loss in output.losses.items()})
        optimiser.zero_grad()
        output.losses["total"].backward()
        optimiser.step()
    assert found[-1]["total"] < found[0]["total"] - 0.05
    for loss in found:
        assert loss["total"] == pytest.approx(
            (loss["image_kl"] + loss["text_kl"]) / 2 + loss["motion"], abs=1e-6
        )
    adapter.refresh()
    assert adapter.fingerprint != fingerprint
    assert weights_hash(encoder.towers.model) == before
    assert all(p.grad is None and not p.requires_grad for p in encoder.towers.model.parameters())
    state = adapter.state_dict()
    assert all(np.abs(state[name] - start[name]).max() > 0 for name in start)


def test_an_encoded_clip_scores_as_in_training(encoder: TorchEncoder) -> None:
    """What is trained is what is used: the same features and texts on both ways."""
    adapter = EzClip.attach(encoder, {"n_frames": 4})
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), dtype=np.uint8)
    pixels = torch.cat(list(encoder.pixel_batches(clips_of(frames))))
    seen = TrainingBatch(pixels, torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    with torch.no_grad():
        logits = adapter.training_step(seen, adapter.training_classes(LABELS)).logits
    cosine = vectors_of(adapter, frames) @ adapter.encode_text(LABELS).T
    np.testing.assert_allclose(logits, encoder.logit_scale * cosine, atol=1e-4)


def test_a_constant_is_not_trained(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"temporal_embedding": True})
    assert "temporal_embedding" not in dict(adapter.trainable())
    assert "temporal_embedding" in adapter.state_dict()


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_agreement_of_one_hot_and_of_mixed_labels(n: int, c: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(c, (n,), generator=random)
    one_hot = torch.nn.functional.one_hot(labels, c).float()
    assert torch.equal(agreement(one_hot), (labels[:, None] == labels).float())
    mixed = torch.rand(n, c, generator=random) + 0.01
    same = agreement(mixed / mixed.sum(dim=1, keepdim=True))
    assert torch.allclose(same.diagonal(), torch.ones(n), atol=1e-5)
    assert torch.allclose(same, same.T, atol=1e-6)
    assert same.min() >= 0


def test_targets_of_a_label_that_occurs_twice() -> None:
    """pos = e^10 / (k e^10 + B - k) for k of B videos of the label."""
    same = agreement(torch.tensor(ONE_HOT))
    target = (10 * same).softmax(dim=1)
    e = float(np.exp(10))
    assert target[0, 3].item() == pytest.approx(e / (2 * e + 2), rel=1e-5)
    assert target[1, 1].item() == pytest.approx(e / (e + 3), rel=1e-5)
    image, _ = softened_contrastive(target.log(), same, 10)
    assert image.item() == pytest.approx(0, abs=1e-6)


def test_smoothed_and_mixed_labels(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"n_frames": 4})
    classes = adapter.training_classes(LABELS)

    def total(targets: list[list[float]]) -> float:
        with torch.no_grad():
            return adapter.training_step(batch(targets), classes).losses["total"].item()

    hard = total(ONE_HOT[:2])
    nearly = total([[0.9998, 1e-4, 1e-4], [1e-4, 0.9998, 1e-4]])
    assert nearly == pytest.approx(hard, abs=1e-3)
    assert total([[0.6, 0.4, 0], [0, 0.5, 0.5]]) != pytest.approx(hard, abs=1e-4)


def test_motion_of_still_and_single_frames() -> None:
    still = torch.ones(2, 5, 3, requires_grad=True)
    loss = motion_loss(still)
    loss.backward()
    assert loss.item() == 1
    assert still.grad is not None
    assert not still.grad.any()
    assert motion_loss(torch.randn(2, 1, 3)).item() == 1
    moving = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert 0 < motion_loss(10 * moving).item() < motion_loss(moving).item() < 1


def test_a_batch_of_single_frames_is_trained(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"n_frames": 4})
    adapter.trainable()
    output = adapter.training_step(batch(ONE_HOT, 1), adapter.training_classes(LABELS))
    output.losses["total"].backward()
    assert torch.isfinite(output.losses["total"])
    assert all(
        torch.isfinite(p.grad).all() for p in adapter.module.parameters() if p.grad is not None
    )


def test_without_the_motion_loss(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"motion_weight": 0})
    with torch.no_grad():
        losses = adapter.training_step(batch(ONE_HOT), adapter.training_classes(LABELS)).losses
    assert set(losses) == {"total", "image_kl", "text_kl"}


def test_under_bfloat16_autocast(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"n_frames": 4})
    named = adapter.trainable()
    classes = adapter.training_classes(LABELS)
    exact = adapter.training_step(batch(ONE_HOT), classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = adapter.training_step(batch(ONE_HOT), classes)
    assert rounded.losses["total"].dtype == torch.float32
    assert rounded.losses["total"].item() == pytest.approx(exact.losses["total"].item(), abs=0.1)
    rounded.losses["total"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in named)


def test_templates_are_drawn(encoder: TorchEncoder) -> None:
    adapter = EzClip.attach(encoder, {"templates": "video"})
    assert adapter.templates == "video"
    classes = adapter.training_classes(LABELS)
    assert classes.shape[:2] == (3, 7)
    totals: set[float] = set()
    with torch.no_grad():
        for seed in (0, 0, 1, 2, 3):
            torch.manual_seed(seed)
            totals.add(adapter.training_step(batch(ONE_HOT), classes).losses["total"].item())
    assert 1 < len(totals) < 5
    with pytest.raises(ModelError, match="'vidoe', not a template set"):
        EzClip.attach(encoder, {"templates": "vidoe"})


@pytest.mark.parametrize(
    "more", [{"prompt_dropout": 0.5}, {"drop": 0.5}, {"drop": 0.5, "time_adapters": True}]
)
def test_what_is_dropped_in_training_only(encoder: TorchEncoder, more: dict[str, Any]) -> None:
    adapter = EzClip.attach(encoder, {"n_frames": 4, **more})
    classes, seen = adapter.training_classes(LABELS), batch(ONE_HOT)
    frames = np.zeros((1, 4, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(features_of(adapter, frames), features_of(adapter, frames))
    adapter.trainable()
    totals: list[float] = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses = adapter.training_step(seen, classes).losses
        losses["total"].backward()
        totals.append(losses["total"].item())
    assert totals[0] == totals[1] != totals[2]


def test_whole_samples_are_dropped() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kept = BlockDropout(0.25, 400).path(torch.ones(1200, 2, 3))
    rows = kept.unflatten(0, (400, 3)).flatten(1)
    assert ((rows == 0).all(dim=1) | (rows == 1 / 0.75).all(dim=1)).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.1)
    assert [d.rate if d else 0 for d in drops(0.2, 3, 1)] == [0, 0.1, 0.2]
    assert drops(0.2, 1, 1) == [None]
