"""Every registered encoder keeps the contract that ``vlar.testing`` checks.

One whose weights must be downloaded states ``contract_argument = None``; ``TINY`` names tiny models
that are saved for it.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests import tiny_models, tiny_st
from tests.clips import clips_of
from tests.unit.encoders.clip import models
from tests.unit.encoders.onnx import made
from vlar import registry
from vlar.numeric import unit
from vlar.testing import check_encoder

#: Encoders whose weights a test must save: the kinds of models that their loaders tell apart.
TINY = {
    "hf": ("clip", "altclip", "xclip", "videoprism", "pe_video", "videomae"),
    "st": ("clip", "qwen"),
    "onnx": ("made",),
    "openclip": ("clip",),  # the smallest architecture that open_clip names has 40 million weights
    "videomae": ("videomae",),
    "vjepa2": ("vjepa2",),
}


def specs() -> list[str]:
    """A registered name, or one with the tiny model that is saved for it."""
    names: list[str] = []
    for name in registry.names("encoder"):
        names += [f"{name} {model}" for model in TINY.get(name, ())] or [name]
    return names


def saved(name: str, model: str, folder: Path) -> str:
    """Argument of the spec of a tiny model."""
    if name == "st":
        pytest.importorskip("sentence_transformers", minversion="6.0")
    if name == "onnx":
        return str(made.write(folder))
    if name == "openclip":
        models.save_openclip(folder, models.openclip_config(quick_gelu=True))
        return str(folder)
    save = tiny_st.save if name == "st" else tiny_models.save
    try:
        return str(save(model, folder))
    except (AttributeError, ImportError) as error:
        if int(version("transformers").partition(".")[0]) >= 5:
            raise
        pytest.skip(f"transformers {version('transformers')} has no {model} ({error})")


@pytest.mark.parametrize("spec", specs())
def test_it_keeps_the_contract(spec: str, tmp_path: Path):
    name, _, model = spec.partition(" ")
    check_encoder(name, argument=saved(name, model, tmp_path / model) if model else None)


def test_unit_keeps_a_zero_vector():
    assert unit(np.zeros((2, 4), dtype=np.float32)).tolist() == [[0.0] * 4] * 2


def test_clips_of_arrays_are_at_ten_frames_a_second():
    assert clips_of(np.zeros((1, 3, 2, 2, 3), np.uint8))[0].times_s.tolist() == [0, 0.1, 0.2]
