"""Operations of a clip in the answers of models that count them."""

# pyright: basic
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.clips import clips_of
from tests.unit.encoders.clip import models
from tests.videos import make_video
from vlar.encoders.base import load_encoder
from vlar.encoders.protocols import WithRegions
from vlar.methods.ar_net.adapter import ArNetAdapter
from vlar.methods.token_reuse.adapter import TokenReuse
from vlar.methods.token_reuse.reuse import reuse_cost
from vlar.methods.video_net.adapter import VideoNet
from vlar.model.model import Model

CLIPS = "torchvision:mc3_18?random_init=true&frames=2&size=32"
LABELS = ["walking", "cooking"]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


def clip(n_frames: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    return clips_of(random.integers(0, 256, (1, n_frames, 40, 48, 3), dtype=np.uint8))[0]


def test_an_answer_states_what_its_clip_took(tower: Any, tmp_path: Path):
    video = make_video(tmp_path / "a.mp4", 4)
    answer = Model(tower).classify(video, LABELS)
    assert answer.to_dict()["cost"] == tower.cost((8, 32, 32, 3))
    (each,) = Model(tower).classify([video], LABELS)
    assert each.to_dict()["cost"] == answer.cost  # type: ignore[union-attr]
    two = load_encoder(f"{CLIPS}+inflated:resnet18?random_init=true&frames=2&size=32")
    assert two.operations(clip(2)) == sum(part.cost((2, 32, 32, 3)) for part in two.parts)  # type: ignore[attr-defined]


def test_models_that_count_nothing_answer_as_before(lite_model: Model, tmp_path: Path):
    answer = lite_model.classify(make_video(tmp_path / "a.mp4", 4), LABELS)
    assert answer.cost is None
    assert "cost" not in answer.to_dict()


@pytest.mark.parametrize(("n_frames", "every", "whole"), [(16, 8, 2), (11, 4, 3), (3, 5, 1)])
def test_reused_tokens_cost_their_share_and_whole_frames_all(
    tower: Any, n_frames: int, every: int, whole: int
):
    adapter = TokenReuse.attach(tower, {"keep": 0.25, "layer": 1, "every": every})
    share = reuse_cost(1, 3, 4, 16)
    frame = tower.cost((1, 32, 32, 3))
    wanted = frame * (whole + (n_frames - whole) * share)
    assert adapter.operations(clip(n_frames)) == pytest.approx(wanted, rel=1e-6)
    assert adapter.cost((n_frames, 32, 32, 3)) == adapter.operations(clip(n_frames))


def test_choices_of_a_clip_are_counted(tower: Any):
    policy = ArNetAdapter.attach(tower)
    sizes, own = policy.config.sizes, policy.cost((6, 32, 32, 3)) - tower.cost((6, 32, 32, 3))
    with torch.no_grad():
        policy.network.choose.weight.zero_()
    for number, side in enumerate(sizes):
        with torch.no_grad():
            policy.network.choose.bias.fill_(0)[number] = 50.0
        frame = policy.chosen.at[number].cost((1, side, side, 3))
        assert policy.operations(clip(6)) == pytest.approx(own + 6 * frame, abs=1)
    spares = VideoNet.attach(load_encoder(CLIPS), {"network": "ada-fuse", "size": 32, "width": 4})
    shape = (2, 32, 32, 3)
    for block in spares.network.body.stages:
        block.gate.leave.weight.zero_()
        block.gate.leave.bias.view(-1, 3).copy_(torch.tensor([50.0, 0, 0]))  # keep all
    assert spares.operations(clip(2)) == spares.cost(shape)
    for block in spares.network.body.stages:
        block.gate.leave.bias.view(-1, 3).copy_(torch.tensor([0, 0, 50.0]))  # skip all
    left = spares._spent(clip(2))
    assert spares.operations(clip(2)) == spares.cost(shape) - sum(left.full)
    assert spares.spared(clip(2)) == 1


def test_parts_of_frames_count_twice(tower: Any):
    assert WithRegions(tower, 2, 2).cost((4, 32, 32, 3)) == 2 * tower.cost((4, 32, 32, 3))
