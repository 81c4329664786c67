"""The number type of a new model goes by the card; what was stored keeps its own."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import vlar
from tests import videos
from tests.unit.encoders.clip import models
from vlar.adapters.base import training_type
from vlar.apps.cli import inputs
from vlar.encoders.base import load_encoder
from vlar.encoders.clip import options
from vlar.encoders.clip.options import default_precision
from vlar.library.library import Library

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


def test_methods_that_train_inside_towers_start_in_float32() -> None:
    assert [training_type(name) for name in ("lora", "tc-clip", "froster")] == ["stated"] * 3
    assert [training_type(name) for name in ("temporal", "auto", None)] == [None] * 3
