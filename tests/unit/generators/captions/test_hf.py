"""A transformers captioner on a tiny model with random weights: the path, not the words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.generators.captions.tiny import save_blip
from vlar.encoders.captions import Captioner, load_captioner
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.types import Clip, Window


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def captioner(folder: Path) -> Captioner:
    return load_captioner(f"hf:{folder}?frames=2&tokens=6")


def clip(seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    return Clip(Path("a.mp4"), Window(0, 1), "video", frames, np.linspace(0, 1, 4))


def test_a_clip_has_a_caption_a_frame(captioner: Captioner):
    (found,) = captioner.caption([clip(0)])
    assert 1 <= len(found) <= 2
    assert all(isinstance(text, str) and text for text in found)
    assert captioner.sampling.n_frames == 2


def test_alone_and_in_company_it_is_the_same(captioner: Captioner):
    together = captioner.caption([clip(0), clip(1)])
    assert [captioner.caption([clip(seed)])[0] for seed in (0, 1)] == together


def test_settings_are_part_of_the_fingerprint(folder: Path, captioner: Captioner):
    other = load_captioner(f"hf:{folder}?frames=1")
    assert other.fingerprint != captioner.fingerprint
    assert load_captioner(captioner.name).fingerprint == captioner.fingerprint


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="frames='0'"):
        load_captioner(f"hf:{folder}?frames=0")
    with pytest.raises(UnknownNameError, match="frames"):
        load_captioner(f"hf:{folder}?frame=2")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_captioner(f"hf:{tmp_path}").caption([clip(0)])
