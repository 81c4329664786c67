"""What every registered adapter that can be trained must keep to, on a tiny random CLIP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import videos
from tests.unit.encoders.clip import models
from vlar import registry
from vlar.adapters.base import Adapter, require_blocks
from vlar.adapters.trainable import Trainable, TrainingBatch
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import VlarError
from vlar.model.model import Model, load
from vlar.training import hyperparameters
from vlar.training.task import attach

LABELS = ["riding a bike", "cooking", "opening the door"]
PARTS = [
    {"verb": "riding", "object": "a bike"},
    {"verb": "cooking", "object": "food"},
    {"verb": "opening", "object": "the door"},
]
TARGETS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.2, 0, 0.8], [1, 0, 0]])
TRAINABLE = [
    name
    for name in registry.names("adapter")
    if issubclass(registry.get("adapter", name), Trainable)
    and getattr(registry.get("adapter", name), "contract_base", "clip") is not None
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return require_blocks(load_encoder(f"openclip:{folder}"), "test")


@pytest.fixture(params=TRAINABLE)
def adapter(request: pytest.FixtureRequest, encoder: TorchEncoder) -> Adapter:
    torch.manual_seed(0)
    return registry.get("adapter", request.param).attach(encoder)


@pytest.fixture
def batch(adapter: Adapter) -> TrainingBatch:
    random = torch.Generator().manual_seed(0)
    if getattr(adapter, "reads", "pixels") == "features":
        shape = (4, adapter.n_frames, adapter.frame_dim)
    else:
        shape = (4, adapter.n_frames, 3, 32, 32)
    return TrainingBatch(torch.randn(shape, generator=random), TARGETS)


def test_a_step_gives_logits_losses_and_gradients(adapter: Adapter, batch: TrainingBatch):
    assert isinstance(adapter, Trainable)
    adapter.read_label_parts(PARTS, [1, 1, 2])
    classes = adapter.training_classes(LABELS)
    named = adapter.trainable()
    assert len({name for name, _ in named}) == len(named) > 0
    output = adapter.training_step(batch, classes)
    assert output.logits.shape == TARGETS.shape
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in output.losses.values())
    output.losses["total"].backward()
    grads = [p.grad for _, p in named if p.grad is not None]
    assert any(grad.any() for grad in grads)
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_training_changes_the_adapter_and_not_the_encoder(
    adapter: Adapter, batch: TrainingBatch, encoder: TorchEncoder
):
    assert isinstance(adapter, Trainable)
    before, fingerprint = weights_hash(encoder.towers.model), adapter.fingerprint
    words = adapter.encode_text(LABELS)
    adapter.read_label_parts(PARTS, [1, 1, 2])
    classes = adapter.training_classes(LABELS)
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], lr=1e-2)
    for _ in range(3):  # zero layers at the start let others learn from the second step on
        optimiser.zero_grad()
        adapter.training_step(batch, classes).losses["total"].backward()
        optimiser.step()
    adapter.refresh()
    assert adapter.fingerprint != fingerprint
    assert weights_hash(encoder.towers.model) == before
    assert all(not p.requires_grad for p in encoder.towers.model.parameters())
    again = type(adapter).attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    assert adapter.encode_text(LABELS).shape == words.shape


# From a support set to an answer


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for label, value in (("red bar", 250), ("green bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * i : 30, 10:40] = (value, 255 - value, 60)
            videos.make_video(folder / label / f"{i}.mp4", 8, picture=lambda _, p=picture: p)
    (folder / "red bar" / "broken.mp4").write_bytes(b"not a video")
    rows = [
        f"{clip.relative_to(folder)},{clip.parent.name},{','.join(clip.parent.name.split())}"
        for clip in sorted(folder.rglob("*.mp4"))
    ]
    (folder / "parts.csv").write_text("\n".join(["path,label,verb,object", *rows]))
    return folder


@pytest.fixture
def short_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {
        name: replace(plan, epochs=1, warmup_epochs=0, average_from=1)
        for name, plan in hyperparameters.recipes().items()
        if name.endswith(("/adapt", "/adapt-cpu"))
    }
    monkeypatch.setattr(hyperparameters, "recipes", lambda: short)


@pytest.mark.parametrize("method", TRAINABLE)
@pytest.mark.usefixtures("short_recipes")
def test_adapted_saved_loaded_it_answers_the_same(
    method: str, encoder: TorchEncoder, support: Path, tmp_path: Path
):
    before = weights_hash(encoder.towers.model)
    part = registry.get("adapter", method)
    if part.learner in ("federated", "source-free"):
        pytest.skip("it learns from clients, or without labels")
    in_parts = part.label_parts
    examples = support / "parts.csv" if in_parts else support
    adapted = Model(encoder).adapt(examples, method=method)
    assert weights_hash(encoder.towers.model) == before
    report = adapted.report
    assert [row.path.name for row in report.failed] == ["broken.mp4"]
    assert report.examples == {"green bar": 2, "red bar": 2}
    assert report.training is not None
    assert report.training.method == method
    # Every method is weighed on what it did not see. Held-out clips show no pair without examples,
    # so weights for pairs are fixed instead.
    assert (report.training.held_out is None) == bool(in_parts)
    assert report.training.closed_weight is not None
    loaded = load(adapted.save(tmp_path / "mine"))
    assert loaded.fingerprint == adapted.fingerprint != encoder.fingerprint
    for clip in sorted(support.rglob("[01].mp4")):
        ours, theirs = adapted.classify(clip), loaded.classify(clip)
        assert ours.predictions == theirs.predictions
        assert ours.unknown_probability == theirs.unknown_probability
        total = sum(p.probability for p in ours.predictions) + ours.unknown_probability
        assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("method", TRAINABLE)
def test_settings_of_another_kind_are_named(method: str, encoder: TorchEncoder):
    part = registry.get("adapter", method)
    for name in part.attach(encoder).settings:
        with pytest.raises(VlarError, match="oddity"):
            part.attach(encoder, {name: {"oddity": 1}})


@pytest.mark.parametrize("method", TRAINABLE)
def test_the_start_is_drawn_from_the_seed(method: str, encoder: TorchEncoder):
    one, same = (attach(method, encoder, seed=3).state_dict() for _ in range(2))
    for name, array in one.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)
