"""What every registered adapter that can be trained must keep to, on a tiny random CLIP."""

from __future__ import annotations

import pytest
import torch

from tests.unit.encoders_clip import models
from vlar import registry
from vlar.adapters.base import Adapter, Trainable, TrainingBatch, require_blocks
from vlar.encoders import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.encoders.towers.model import weights_hash

LABELS = ["riding a bike", "cooking", "opening the door"]
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
        shape = (4, adapter.n_frames, adapter.encoder.frame_dim)
    else:
        shape = (4, adapter.n_frames, 3, 32, 32)
    return TrainingBatch(torch.randn(shape, generator=random), TARGETS)


def test_a_step_gives_logits_losses_and_gradients(adapter: Adapter, batch: TrainingBatch):
    assert isinstance(adapter, Trainable)
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
