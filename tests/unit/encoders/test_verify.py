"""The check of ``vlar doctor``: vectors that are stored are found again, others are noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlar.encoders import download
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError

TINY = "openclip:ViT-S-32-alt?random_init=true"


def test_lite_answers_as_its_stored_vectors():
    """After a wanted change of lite: python benchmarks/verified_vectors.py."""
    cosine = download.compare(load_encoder("lite"))
    assert cosine is not None
    assert cosine > 0.9999


def test_a_fetched_model_is_compared_with_its_first_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    encoder = load_encoder(TINY)
    assert download.compare(encoder) is None
    download.keep(encoder)
    assert download.compare(encoder) == pytest.approx(1, abs=1e-3)
    # The control: other weights under the same name.
    for parameter in encoder.towers.model.parameters():  # pyright: ignore
        parameter.data.mul_(np.float32(0.7))
    with pytest.raises(ModelError, match="answers otherwise"):
        download.compare(encoder)
    (tmp_path / "verified.json").write_text("[")
    assert download.compare(encoder) is None
