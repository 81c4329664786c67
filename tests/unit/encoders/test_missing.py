"""A library that is not installed is named with the command to get it."""

from __future__ import annotations

import sys

import pytest

from vlar.encoders.base import load_encoder
from vlar.encoders.spec import missing_library
from vlar.errors import ModelError


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'notthere'", name="notthere.part"), "notthere"),
        (RuntimeError("Please install the latest notthere (`pip install notthere`)"), "notthere"),
        (ValueError("X requires it: `pip3 install -U notthere`."), "notthere"),
    ],
)
def test_it_is_named(error: Exception, package: str) -> None:
    found = missing_library("hf:a/b", error)
    assert found is not None
    assert found.message.endswith(f"run: pip install {package}")


def test_advice_about_a_library_that_is_there_is_another_error() -> None:
    text = "the model type `new` is not known; upgrade: pip install --upgrade numpy"
    assert missing_library("hf:a/b", ValueError(text)) is None
    assert missing_library("hf:a/b", ValueError("size mismatch")) is None


def test_a_timm_tower_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.timm_model.timm", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="run: pip install timm"):
        load_encoder("openclip:ViT-B-16-SigLIP?random_init=true")


def test_a_core_library_that_is_broken_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("vlar.encoders.clip")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match="needs the library open-clip-torch"):
        load_encoder("openclip:ViT-B-32?random_init=true")
