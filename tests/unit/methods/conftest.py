from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.methods import golden
from vlar.methods.tc_clip.adapter import TcClip
from vlar.methods.tc_clip.network import TcClipConfig


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.pth")


def golden_options(base: Path) -> str:
    names = ("seed_fraction", "context_tokens", "merge_step")
    values = "&".join(f"{name}={golden.settings()[name]}" for name in names)
    return f"base=openclip:{base}&{values}"


@pytest.fixture(scope="session")
def adapter(base: Path, checkpoint: Path) -> TcClip:
    """The golden model, read from a checkpoint. Not to be changed by a test."""
    loaded = TcClip.from_spec(f"{checkpoint}?{golden_options(base)}")
    assert loaded.config == TcClipConfig.from_dict(
        {**golden.settings(), "max_tokens": loaded.config.max_tokens}
    )
    return loaded
