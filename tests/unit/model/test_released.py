"""A model that nobody holds is freed at once, not when the garbage collector comes by."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vlar
from tests.unit.encoders.clip.models import openclip_config, save_openclip
from vlar.encoders.lite import body
from vlar.model.model import Model


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_model_folder_is_freed(lite_model: Model, tmp_path: Path):
    lite_model.save(tmp_path / "model")
    model = vlar.load(tmp_path / "model")
    model.words.encode_queries(["riding a bike"])
    parts = {"model": model, "encoder": model.encoder, **vars(model.encoder)}
    del parts["asked"]  # a constant of the package
    alive = {name: weakref.ref(part) for name, part in parts.items() if hasattr(part, "__dict__")}
    assert {"encoder", "_text", "_space"} <= alive.keys()
    del model, parts
    assert [name for name, part in alive.items() if part() is not None] == []


@pytest.mark.usefixtures("no_collector")
def test_a_clip_model_is_freed(tmp_path: Path):
    save_openclip(tmp_path, openclip_config())
    model = vlar.load(f"openclip:{tmp_path}")
    model.words.encode_queries(["riding a bike"])
    alive = [weakref.ref(model), weakref.ref(model.encoder.towers.model)]  # type: ignore[attr-defined]
    del model
    assert [part() for part in alive] == [None, None]


@pytest.mark.usefixtures("no_collector")
def test_the_motion_block_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its table of verbs loads vectors that are made from the table."""
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    monkeypatch.setattr(body, "PoseExtractor", lambda: None)

    def embed(texts: object) -> np.ndarray:
        return np.eye(len(list(texts)), 384, dtype=np.float32)  # type: ignore[call-overload]

    block = body.BodyBlock(embed, "hash", "lite-test")
    block.explain("xyzzy")  # unknown: the vectors are needed
    alive = [weakref.ref(block), weakref.ref(block.table)]
    del block
    assert [part() for part in alive] == [None, None]
