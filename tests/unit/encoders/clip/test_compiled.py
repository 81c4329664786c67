"""``compile=true``: the same vectors from compiled code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError

from . import models


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    (tmp_path / "model").mkdir()
    models.save_openclip(tmp_path / "model", models.openclip_config())
    return tmp_path / "model"


@pytest.mark.slow
def test_compiled_code_gives_the_same_vectors(folder: Path, tmp_path: Path):
    eager = load_encoder(f"openclip:{folder}", device="cpu")
    fast = load_encoder(f"openclip:{folder}?compile=true", device="cpu")
    frames = np.random.default_rng(1).integers(0, 256, (2, 3, 40, 40, 3), dtype=np.uint8)
    clips = clips_of(frames)
    for mine, theirs in zip(eager.encode(clips), fast.encode(clips), strict=True):
        np.testing.assert_allclose(mine.features, theirs.features, atol=1e-5)
    assert fast.fingerprint == eager.fingerprint
    assert any((tmp_path / "cache").glob("compiled-*/*"))


def test_what_cannot_be_compiled_or_differs_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: object, **__: object) -> object:
        raise RuntimeError("no C++ compiler\nis here")

    monkeypatch.setattr(torch, "compile", lambda run, **_: broken)
    with pytest.raises(ModelError, match="leave compile=true out") as error:
        load_encoder(f"openclip:{folder}?compile=true", device="cpu")
    assert "\n" not in error.value.message
    # The control: compiled code that computes something else.
    monkeypatch.setattr(torch, "compile", lambda run, **_: lambda x: run(x).flip(-1))
    with pytest.raises(ModelError, match="answers otherwise"):
        load_encoder(f"openclip:{folder}?compile=true", device="cpu")
