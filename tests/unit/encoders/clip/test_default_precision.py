"""The number type of a new model goes by the card; what was stored keeps its own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import vlar
from tests import videos
from tests.fake_device import DEVICE, fake_device
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.adapters.base import training_type
from vlar.apps.cli import inputs
from vlar.encoders.base import load_encoder
from vlar.encoders.clip import options
from vlar.encoders.clip.options import allow_tf32, default_precision, place_model
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import EncoderMismatchError
from vlar.library.library import Library
from vlar.methods.lora.adapter import Lora

HALF = "precision=bfloat16"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("openclip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return f"openclip:{folder}"


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of a card that computes in bfloat16, on the CPU."""
    monkeypatch.setattr(options, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(options, "default_precision", lambda device: "bfloat16")


@pytest.mark.parametrize(
    ("device", "capability", "precision", "line"),
    [
        ("cuda", (8, 0), "bfloat16", "compute in bf16 on cuda"),
        ("cuda:1", (7, 5), None, "cuda:1 has no bf16"),
        ("cpu", None, None, ""),
    ],
)
def test_the_card_decides_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    device: str,
    capability: tuple[int, int] | None,
    precision: str | None,
    line: str,
) -> None:
    monkeypatch.setattr(options, "pick_device", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    default_precision.cache_clear()
    with caplog.at_level(logging.INFO, logger="vlar"):
        assert [default_precision(device) for _ in range(2)] == [precision] * 2
    default_precision.cache_clear()
    assert len(caplog.records) == (1 if line else 0)
    assert line in caplog.text


def test_a_new_model_has_the_type_of_the_card_and_a_stated_one_its_own(
    spec: str, ampere: None
) -> None:
    new = vlar.load(spec)
    assert new.encoder.name == f"{spec}?{HALF}"
    assert vlar.load(spec, dtype="auto").fingerprint == new.fingerprint
    exact = vlar.load(spec, dtype="float32")
    assert exact.fingerprint != new.fingerprint
    for stated in (vlar.load(spec, dtype="stated"), vlar.load(exact.encoder.name)):
        assert stated.fingerprint == exact.fingerprint
    assert load_encoder(spec).fingerprint == exact.fingerprint
    assert vlar.load("lite").encoder.name == "lite"
    assert load_encoder(f"{spec}+lite-objects", dtype="auto").name == f"{spec}?{HALF}+lite-objects"


def test_a_library_keeps_its_type_by_whatever_name_it_is_opened(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = videos.make_video(tmp_path / "a.mp4", 8, fps=4)
    exact, half = str(tmp_path / "exact.vlar"), str(tmp_path / "half.vlar")
    with Library(exact, spec) as library:
        library.add([clip])
    monkeypatch.setattr(options, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(options, "default_precision", lambda device: "bfloat16")
    with Library(half, spec) as library:
        library.add([clip])
        assert library.info().model == f"{spec}?{HALF}"
    for path, name in ((exact, spec), (half, f"{spec}?{HALF}")):
        assert inputs.own_model(path) == name
        prints = {inputs.load_model(known, None, None, path).fingerprint for known in (spec, name)}
        for model in (spec, None):
            with Library(path, model, create=False) as library:
                assert prints == {library.info().fingerprint}
                library.query("riding a bike")  # raises where the types differ
    assert inputs.load_model(spec, None, None).encoder.name == f"{spec}?{HALF}"


@pytest.mark.parametrize("ours", ["float32", "bfloat16"])
def test_a_model_of_another_type_is_refused_with_the_call_that_helps(
    spec: str, ampere: None, tmp_path: Path, ours: str
) -> None:
    clip = videos.make_video(tmp_path / "a.mp4", 8, fps=4)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[ours]
    path = tmp_path / "small.vlar"
    with Library(path, vlar.load(spec, dtype=ours)) as library:
        library.add([clip])
        name = library.info().model
    with Library(path, vlar.load(spec, dtype=other), create=False) as library:
        message = str(refused(EncoderMismatchError, "", library.query, "riding a bike").value)
    assert f"in {ours}" in message
    assert f"computes in {other}" in message
    assert f"vlar.load({name!r}, dtype={ours!r})" in message
    with Library(path, vlar.load(str(name), dtype=ours), create=False) as library:
        library.query("riding a bike")
    with Library(path, vlar.load("lite"), create=False) as library:  # control: another model
        refused(EncoderMismatchError, "use --model", library.query, "riding a bike")


def test_only_float32_on_cuda_is_multiplied_in_tf32() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        for place, precision, expected in (
            ("cpu", "float32", "highest"),
            ("cuda", "bfloat16", "highest"),
            ("cuda:1", "float32", "high"),
        ):
            torch.set_float32_matmul_precision("highest")
            allow_tf32(torch.device(place), precision)
            assert torch.get_float32_matmul_precision() == expected
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("kernel", "count", "is_last"), [((3, 3), 6, True), ((3, 3), 1, False), ((1, 3, 3), 6, False)]
)
def test_networks_of_convolutions_have_their_channels_last_on_a_device(
    kernel: tuple[int, ...], count: int, is_last: bool
) -> None:
    make = torch.nn.Conv2d if len(kernel) == 2 else torch.nn.Conv3d
    models = [torch.nn.Sequential(*(make(4, 4, kernel) for _ in range(count))) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    with fake_device():
        for model, device in zip(models, ("cpu", DEVICE), strict=True):
            place_model(model, device, "float32", "made")
        weights = [next(model.parameters()) for model in models]
        if len(kernel) == 2:
            last = [x.is_contiguous(memory_format=torch.channels_last) for x in weights]
            assert last == [False, is_last]
        assert weights_hash(models[0]) == weights_hash(models[1])


def test_methods_that_train_inside_towers_start_in_float32() -> None:
    assert [training_type(name) for name in ("lora", "tc-clip", "froster")] == ["stated"] * 3
    assert [training_type(name) for name in ("temporal", "auto", None)] == [None] * 3


@pytest.mark.parametrize(
    ("method", "dtype", "options", "precision"),
    [
        ("lora", None, {"settings": {"epochs": 1}}, "float32"),
        ("lora", "bf16", {"settings": {"epochs": 1}}, "bfloat16"),  # as the user says
        ("ridge", None, {}, "bfloat16"),
    ],
)
def test_adapt_trains_inside_towers_in_float32_unless_the_user_chose_a_type(
    spec: str,
    ampere: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
    dtype: str | None,
    options: dict[str, Any],
    precision: str,
) -> None:
    support = {
        label: [videos.make_noise_video(tmp_path / f"{label}{n}.mp4", 8, fps=4) for n in range(2)]
        for label in ("running", "sleeping")
    }
    model = vlar.load(spec, dtype=dtype)
    with caplog.at_level(logging.INFO, logger="vlar"):
        adapted = model.adapt(support, method=method, **options)
    again = dtype is None and method == "lora"
    assert ("loaded again, in float32" in caplog.text) == again
    assert model.encoder.name == f"{spec}?{HALF}"
    adapted.save(tmp_path / "saved")
    for made in (adapted, vlar.load(tmp_path / "saved")):
        base = made.encoder.encoder if isinstance(made.encoder, Lora) else made.encoder
        assert isinstance(base, TorchEncoder)
        assert str(base.towers.dtype) == f"torch.{precision}"
        assert base.name == (spec if again else f"{spec}?{HALF}")
