"""LoRA: no effect at the start, the model untouched, the same merged and apart, any library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import vectors_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.adapters.base import load_adapter
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError
from vlar.methods.lora.adapter import Lora
from vlar.training.trainable import TrainingBatch

KINDS = ["openclip", "openclip siglip", "hf clip", "hf siglip", "hf siglip2"]
TEXTS = ["a photo of the cat", "the dog"]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    if request.param.startswith("openclip"):
        config, siglip = models.openclip_config(quick_gelu=True), request.param.endswith("siglip")
        if siglip:  # its text tower shows no blocks
            config["text_cfg"] |= {"no_causal_mask": True, "pool_type": "last"}
        models.save_openclip(folder, config, custom=siglip)
        return load_encoder(f"openclip:{folder}")
    if request.param == "hf clip":
        models.save_clip(folder)
    else:
        models.save_siglip(folder, naflex=request.param == "hf siglip2")
    return load_encoder(f"hf:{folder}")


def frames(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 40, 48, 3), dtype=np.uint8)


def batch() -> TrainingBatch:
    pixels = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return TrainingBatch(pixels, torch.tensor([[0.9, 0.1], [0.2, 0.8]]))


def shaken(adapter: Lora) -> Lora:
    """With changes that have an effect."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    adapter.refresh()
    return adapter


def test_it_starts_as_the_encoder(encoder: TorchEncoder) -> None:
    adapter = Lora.attach(encoder)
    np.testing.assert_array_equal(vectors_of(adapter, frames()), vectors_of(encoder, frames()))
    np.testing.assert_array_equal(adapter.encode_text(TEXTS), encoder.encode_text(TEXTS))


def test_merged_is_what_was_trained(encoder: TorchEncoder) -> None:
    before = weights_hash(encoder.towers.model)
    adapter = shaken(Lora.attach(encoder, {"mlp": True}))
    pixels, ids = batch().inputs.flatten(0, 1), adapter.merged.token_ids(TEXTS)
    with torch.no_grad():
        for apart, merged, plain, given in (
            (adapter.changed.image, adapter.merged.towers.image, encoder.towers.image, pixels),
            (adapter.changed.text, adapter.merged.towers.text, encoder.towers.text, ids),
        ):
            assert torch.allclose(apart(given), merged(given), rtol=1e-4, atol=1e-5)
            assert not torch.allclose(plain(given), merged(given), rtol=1e-2, atol=1e-3)
    assert weights_hash(encoder.towers.model) == before


def test_the_frozen_weights_are_shared_not_copied(encoder: TorchEncoder) -> None:
    adapter = Lora.attach(encoder, {"mlp": True})
    kept = {p.untyped_storage().data_ptr() for p in encoder.towers.model.parameters()}
    layers = adapter.changed._layers().values()
    assert layers
    for layer in layers:
        assert layer.get_base_layer().weight.untyped_storage().data_ptr() in kept


@pytest.mark.parametrize("towers", ["vision", "text", "both"])
def test_only_the_named_towers_learn(encoder: TorchEncoder, towers: str) -> None:
    before = weights_hash(encoder.towers.model)
    adapter = Lora.attach(encoder, {"towers": towers, "rank": 2})
    named = dict(adapter.trainable())
    assert set(named) == set(adapter.state_dict())
    assert all(p.requires_grad and min(p.shape) == 2 for p in named.values())
    optimiser = torch.optim.AdamW(named.values(), lr=3e-3)
    classes = adapter.training_classes(TEXTS)
    torch.manual_seed(0)
    totals: list[float] = []
    for _ in range(12):
        loss = adapter.training_step(batch(), classes).losses["total"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        totals.append(loss.item())
    adapter.refresh()
    assert min(totals[-4:]) < totals[0]
    assert weights_hash(encoder.towers.model) == before
    assert all(p.grad is None for p in encoder.towers.model.parameters())
    seen = np.array_equal(vectors_of(adapter, frames()), vectors_of(encoder, frames()))
    read = np.array_equal(adapter.encode_text(TEXTS), encoder.encode_text(TEXTS))
    assert (seen, read) == (towers == "text", towers == "vision")


def test_dropout_is_of_training_only(encoder: TorchEncoder) -> None:
    adapter = shaken(Lora.attach(encoder, {"towers": "vision", "dropout": 0.5}))
    classes = adapter.training_classes(TEXTS)
    adapter.trainable()
    torch.manual_seed(0)
    first, second = (adapter.training_step(batch(), classes).logits for _ in range(2))
    assert not torch.equal(first, second)
    with torch.no_grad():
        first, second = (adapter.training_step(batch(), classes).logits for _ in range(2))
    assert torch.equal(first, second)


def test_a_window_is_the_same_alone_and_in_company(encoder: TorchEncoder) -> None:
    adapter = shaken(Lora.attach(encoder))
    together = vectors_of(adapter, frames(3))
    for i in range(3):
        np.testing.assert_array_equal(vectors_of(adapter, frames(3)[i : i + 1])[0], together[i])


def test_bfloat16_autocast(encoder: TorchEncoder) -> None:
    adapter = shaken(Lora.attach(encoder))
    classes = adapter.training_classes(TEXTS).drawn()
    adapter.trainable()
    plain = adapter.training_step(batch(), classes)
    with torch.autocast("cpu", torch.bfloat16):
        rough = adapter.training_step(batch(), classes)
    rough.losses["total"].backward()
    assert rough.logits.dtype == torch.float32
    assert rough.losses["total"].item() == pytest.approx(plain.losses["total"].item(), abs=0.2)


def test_wrong_settings(encoder: TorchEncoder, tmp_path: Path) -> None:
    refused(UnknownNameError, "did you mean 'vision'", Lora.attach, encoder, {"towers": "visoin"})
    refused(ModelError, "rank is 0", Lora.attach, encoder, {"rank": 0})
    refused(ModelError, "dropout is 1", Lora.attach, encoder, {"dropout": 1})
    refused(ModelError, "no checkpoints of an original", load_adapter, f"lora:{tmp_path}")


def test_a_text_that_depends_on_the_video_is_refused(tmp_path: Path) -> None:
    models.save_xclip(tmp_path)
    refused(ModelError, "does not depend on the video", Lora.attach, load_encoder(f"hf:{tmp_path}"))
