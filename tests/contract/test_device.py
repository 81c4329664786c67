"""Adapters on an accelerator without hardware: a training step, its waits, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.fake_device import DEVICE, Counts, fake_device
from tests.unit.encoders.clip import models
from vlar import registry
from vlar.adapters.base import Adapter
from vlar.encoders.base import Encoder, load_encoder
from vlar.testing import check_adapter
from vlar.testing.trainables import LABELS, PARTS, batch_of
from vlar.training.trainable import Trainable

#: Waits of the host in one step after the second, and copies to the device: numbers only fall.
TABLE = Path(__file__).with_name("device_waits.json")
#: Adapters that need a network of clips.
NETWORKS = {"own-net": "torchvision:mc3_18?random_init=true&frames=2&size=32"}
#: Adapters that also train in bf16.
HALVES = ("ez-clip", "froster", "lora", "tc-clip")
FRAMES = np.random.default_rng(4).integers(0, 256, (2, 4, 40, 48, 3), dtype=np.uint8)


def adapters() -> list[str]:
    """Adapters of clips without their presets, which differ in settings alone."""
    parts = {name: registry.get("adapter", name) for name in registry.names("adapter")}
    return [
        name
        for name, part in parts.items()
        if not part.preset_settings and (part.contract_base == "clip" or name in NETWORKS)
    ]


def trained() -> list[str]:
    return [name for name in adapters() if issubclass(registry.get("adapter", name), Trainable)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return folder


@pytest.fixture
def device() -> Iterator[Counts]:
    with fake_device() as counts:
        yield counts


def loaded(name: str, folder: Path, **placement: Any) -> Encoder:
    return load_encoder(NETWORKS.get(name, f"openclip:{folder}"), **placement)


def steps(adapter: Any, count: int, counts: Counts | None = None) -> list[float]:
    """Losses of steps of AdamW on one batch; counts are those of the last step."""
    adapter.read_label_parts(PARTS, [1, 1, 2])
    classes, losses = adapter.training_classes(LABELS), []
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], lr=1e-2)
    batch = batch_of(adapter)
    for _ in range(count):
        if counts is not None:
            counts.syncs = counts.to_device = counts.to_host = 0
            counts.lines.clear()
        torch.manual_seed(1)
        optimiser.zero_grad()
        total = adapter.training_step(batch, classes).losses["total"]
        total.backward()
        optimiser.step()
        losses.append(total.detach())
    waits = (counts.syncs, counts.to_device) if counts else ()
    adapter.refresh()
    return [*waits, *(float(loss) for loss in losses)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in NETWORKS else n for n in trained()],
)
def test_a_training_on_the_device(name: str, folder: Path, device: Counts) -> None:
    part: type[Adapter] = registry.get("adapter", name)
    torch.manual_seed(0)
    plain = part.attach(loaded(name, folder, device="cpu"))
    usual = steps(plain, 3)
    torch.manual_seed(0)
    encoder = loaded(name, folder)
    assert str(encoder.towers.device) == f"{DEVICE}:0"  # pyright: ignore
    adapter: Any = part.attach(encoder)
    syncs, to_device, *losses = steps(adapter, 3, device)
    lines = dict(device.lines)
    np.testing.assert_allclose(losses, usual, rtol=2e-3, atol=2e-3)
    most = json.loads(TABLE.read_text("utf-8"))
    assert {"syncs": syncs, "to_device": to_device} == most[name], lines
    again = part.attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    clips = clips_of(np.resize(FRAMES, (2, adapter.n_frames, 40, 48, 3)))
    for one, other in zip(adapter.encode(clips), again.encode(clips), strict=True):
        np.testing.assert_allclose(one.vector, other.vector, atol=1e-6)
        assert np.isfinite(one.vector).all()


@pytest.mark.parametrize(
    "name",
    ["tuned", *(pytest.param(n, marks=pytest.mark.slow) for n in HALVES)],
)
def test_a_training_in_bf16_on_the_device(name: str, folder: Path, device: Counts) -> None:
    """Pixels are float32, and a new model on a card computes in bf16."""
    usual, rounded = (
        steps(registry.get("adapter", name).attach(loaded(name, folder, dtype=dtype)), 2)
        for dtype in ("float32", "bfloat16")
    )
    assert usual != rounded
    np.testing.assert_allclose(rounded, usual, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", adapters())
def test_the_whole_contract_on_the_device(name: str, folder: Path, device: Counts) -> None:
    if name in NETWORKS:
        pytest.skip("the contract is that of an adapter of a CLIP")
    check_adapter(name, encoder=loaded(name, folder))


@pytest.mark.parametrize("name", ["tc-clip", "temporal"])
def test_adapting_saving_and_loading_on_the_device(name: str, folder: Path, device: Counts) -> None:
    check_adapter(name, encoder=loaded(name, folder))
