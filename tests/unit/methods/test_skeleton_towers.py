"""Skeleton towers: joints with a mask, the network that all presets share, and its families."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests import skeletons
from vlar import registry
from vlar.adapters.trainable import TrainingBatch
from vlar.encoders.base import Encoder
from vlar.errors import ModelError, UsageError
from vlar.media.skeleton.layouts import layout, levels, names, tree
from vlar.methods.skeleton_towers import graphs
from vlar.methods.skeleton_towers.config import TowerConfig, part_joints
from vlar.methods.skeleton_towers.joints import PER_JOINT, Joints, normalised
from vlar.methods.skeleton_towers.network import TowerNetwork, at_frames, streams_of
from vlar.types import Clip, Window

TINY = {"widths": [8, 8, 16], "halved": [3], "frames": 16, "people": 2}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return vlar.load("skeleton").encoder


def clip_of(points: np.ndarray, name: str = "kinect20", unit: str = "m") -> Clip:
    """(T, M, V, C) joints at 30 frames a second."""
    times_s = np.arange(len(points)) / skeletons.RATE_HZ
    meta = {"layout": name, "unit": unit, "rate_hz": skeletons.RATE_HZ}
    window = Window(0.0, len(points) / skeletons.RATE_HZ)
    return Clip(Path("a.json"), window, "skeleton", points.astype(np.float32), times_s, meta=meta)


def two_people(frames: int = 40) -> np.ndarray:
    one, two = skeletons.walker(frames), skeletons.walker(frames, wave=False) + [0.8, 0, 0]
    return np.stack([one, two], axis=1)


def joints_of(encoder: Encoder, clip: Clip, people: int = 2, **how: Any) -> np.ndarray:
    """(T, M, V, 4)."""
    part = Joints(encoder, how.pop("name", "kinect20"), people, **how)
    features = part.encode([clip])[0].features[:, encoder.frame_dim :]
    return features.reshape(len(features), people, part.joints, PER_JOINT)


# Joints


def test_all_joints_of_all_people_lie_next_to_the_features(encoder: Encoder):
    found = joints_of(encoder, clip_of(two_people()), people=3)
    assert found.shape == (64, 3, 20, 4)
    assert found[:, :2, :, 3].all()
    assert not found[:, 2].any()  # nobody
    np.testing.assert_allclose(found[0, 0, 0, :3], 0, atol=1e-6)  # the root of the first
    trunk = np.linalg.norm(found[0, 0, [4, 8], :3].mean(0) - found[0, 0, [12, 16], :3].mean(0))
    assert trunk == pytest.approx(1, rel=1e-3)
    distance = (found[:, 1, 0, 0] - found[:, 0, 0, 0]).mean()
    assert abs(distance) == pytest.approx(0.8 / 0.45, rel=0.01)  # kept, in trunks


def test_people_come_by_the_energy_of_their_motion(encoder: Encoder):
    still, waves = np.repeat(skeletons.walker(1), 40, axis=0), skeletons.walker(40)
    for order in ([still, waves], [waves, still]):
        found = joints_of(encoder, clip_of(np.stack(order, axis=1)))
        steps = np.abs(np.diff(found[..., :3], axis=0)).sum(axis=(0, 2, 3))
        assert steps[0] > 10 * steps[1]


def test_unseen_joints_are_zero_and_marked(encoder: Encoder):
    points = two_people()
    points[:, 0, 11] = np.nan
    points[10:30, 1, 7] = np.nan  # longer than what is filled
    found = joints_of(encoder, clip_of(points))
    waves = int(np.abs(np.diff(found[..., 9, :3], axis=0)).sum(axis=(0, 2)).argmax())
    assert not found[:, waves, 11].any()
    gap = found[:, 1 - waves, 7, 3]
    assert 20 < (gap == 0).sum() < 40
    assert not found[gap == 0, 1 - waves, 7].any()
    assert np.isfinite(found).all()


def test_joints_that_a_layout_lacks_are_not_seen(encoder: Encoder):
    found = joints_of(encoder, clip_of(two_people()), name="ntu25")
    lacking = [layout("ntu25").joints.index(j) for j in ("left_hand_tip", "right_thumb")]
    assert not found[:, :, lacking].any()
    assert found[:, :, :20, 3].mean() > 0.9


def test_a_turned_body_faces_the_camera_after_turn():
    points = skeletons.walker(8)[None].astype(float)
    angle = 0.8
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    how = ("root", "turn", "scale")
    one, other = (normalised(p, "kinect20", how) for p in (points, turned))
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert np.abs(normalised(turned, "kinect20", ("root",)) - one).max() > 0.1


def test_a_hand_for_a_tower_of_bodies_is_refused(encoder: Encoder):
    hand = np.zeros((40, 1, 21, 3)) + np.arange(21)[:, None]
    with pytest.raises(UsageError, match="remap"):
        joints_of(encoder, clip_of(hand, "hands21"))


# The network


def inputs_of(config: TowerConfig, n: int = 3, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, 64, config.people, config.joints, 4, generator=random)
    rows[..., 3] = 1
    return rows.flatten(2)


def network_of(**settings: Any) -> TowerNetwork:
    torch.manual_seed(0)
    made = TowerNetwork(TowerConfig.from_dict({**TINY, **settings}), 12)
    for leave in made.leave:
        torch.nn.init.normal_(leave.weight)
    return made.eval()


@pytest.mark.parametrize("name", ["ntu25", "kinect20", "coco17", "hands21"])
def test_streams_are_those_of_the_layout(name: str):
    from vlar.media.skeleton.layouts import bones, motion

    points = np.random.default_rng(0).normal(size=(6, len(layout(name).joints), 3))
    x = torch.from_numpy(points).permute(2, 0, 1)[None, None]
    seen = torch.ones_like(x[:, :, 0])
    given = ("joint", "bone", "motion", "bone_motion", "skip")
    found = streams_of(x, seen, given, name)[0, 0].permute(1, 2, 0).numpy()
    wanted = [points, bones(points, name), motion(points), motion(bones(points, name)),
              bones(points, name, 2)]  # fmt: skip
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=2), atol=1e-12)


def test_it_starts_at_zero_and_reads_no_unseen_joint():
    torch.manual_seed(0)
    config = TowerConfig.from_dict(TINY)
    inputs = inputs_of(config)
    assert not TowerNetwork(config, 12).residual(inputs).any()
    network = network_of()
    rows = inputs.view(3, 64, 2, config.joints, 4).clone()
    rows[:, 5:20, 0, 7, 3] = 0
    rows[1, :, 1, :, 3] = 0
    other = rows.clone()
    other[:, 5:20, 0, 7, :3] = 99.0
    other[1, :, 1, :, :3] = -99.0
    one, two = (network.residual(x.flatten(2)) for x in (rows, other))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert (one - network.residual(inputs)).abs().max() > 1e-4


def test_people_are_exchangeable_and_absent_ones_change_nothing():
    network = network_of()
    config = network.config
    inputs = inputs_of(config).view(3, 64, 2, config.joints, 4)
    one, two = (network.residual(x.flatten(2)) for x in (inputs, inputs.flip(2)))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    alone = inputs.clone()
    alone[:, :, 1] = 0
    single = network_of(people=1).residual(inputs[:, :, :1].flatten(2))
    torch.testing.assert_close(network.residual(alone.flatten(2)), single, rtol=1e-5, atol=1e-6)
    nobody = torch.zeros_like(inputs).flatten(2)
    assert not network.residual(nobody).any()


def test_frames_are_interpolated_to_those_of_the_settings():
    rows = torch.arange(5.0)[None, :, None]
    torch.testing.assert_close(at_frames(rows, 9)[0, :, 0], torch.arange(9.0) / 2)
    assert at_frames(rows, 5) is rows
    torch.testing.assert_close(at_frames(rows, 2)[0, :, 0], torch.tensor([0.0, 4.0]))


def test_late_fusion_is_the_mean_of_members_that_learn_apart(encoder: Encoder):
    network = network_of(fuse="late")
    assert [streams for streams in network.streams] == [("joint",), ("bone",), ("motion",)]
    inputs = inputs_of(network.config)
    reading = network.read(inputs)
    torch.testing.assert_close(reading.residuals.mean(0), network.residual(inputs))
    assert (reading.residuals[0] - reading.residuals[1]).abs().max() > 1e-3


# Graphs


@pytest.mark.parametrize("name", ["ntu25", "kinect20_utd", "coco17", "hands21", "cmu31"])
@pytest.mark.parametrize("centre", [None, 1, 7])
def test_levels_of_a_hierarchy_have_each_edge_once(name: str, centre: int | None):
    joint = None if centre is None else layout(name).joints[centre]
    found = graphs.hierarchy(name, joint)
    level = levels(name, joint)
    counts = [int((level == n).sum()) for n in range(level.max() + 1)]
    assert [int(each[1].sum()) for each in found] == [
        a * b for a, b in zip(counts, counts[1:], strict=False)
    ]
    np.testing.assert_array_equal(found[:, 2], found[:, 1].swapaxes(1, 2))
    edges = found[:, 1:].sum(axis=(0, 1))
    assert edges.max() == 1
    assert found.shape == (level.max(), 3, len(level), len(level))


def test_rows_of_a_hyper_graph_sum_to_one_up_to_the_sign():
    random = torch.Generator().manual_seed(3)
    incidence = torch.rand(4, 9, 6, generator=random)
    weight = torch.rand(4, 6, generator=random) + 0.1
    found = graphs.hyper(incidence, weight)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(4, 9))
    torch.testing.assert_close(graphs.hyper(incidence, -weight), -found)
    mixed = graphs.hyper(incidence, weight * torch.tensor([1, -1, 1, -1, 1, -1]))
    assert (mixed.sum(dim=2).abs() < 1).all()
    one = graphs.hyper(torch.tensor([[[1.0], [1.0], [0.0]]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(one[0], torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]]))


@pytest.mark.parametrize("name", ["ntu25", "kinect20", "openpose25"])
def test_dilated_graphs_hold_the_joints_at_a_distance(name: str):
    found = graphs.dilated(name, 3)
    near = np.zeros(found.shape[1:])
    for a, b in tree(name):
        near[a, b] = near[b, a] = 1
    np.testing.assert_array_equal(found[0] > 0, near > 0)
    two = (near @ near > 0) & (near == 0) & ~np.eye(len(near), dtype=bool)
    np.testing.assert_array_equal(found[1] > 0, two)
    for each in found:
        assert set(np.round(each.sum(axis=0), 5)) <= {0.0, 1.0}
    assert not (found[0] > 0)[found[2] > 0].any()


# Presets


PRESETS = [
    name
    for name in registry.names("adapter")
    if (made := registry.preset("adapter", name)) and made.of == "skeleton-tower"
]
SIZES = {"skeleton-tower": (1.45e6, 0.03), "gap": (2.10e6, 0.03)}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_papers(name: str, encoder: Encoder):
    labels = [f"label {n}" for n in range(60)]
    made = registry.get("adapter", name).attach(encoder, {"layout": "ntu25", "labels": labels})
    count = sum(p.numel() for p in made.module.parameters())
    wanted, within = SIZES[name]
    assert count == pytest.approx(wanted, rel=within)


@pytest.mark.parametrize("name", ["skeleton-tower", *PRESETS])
def test_a_preset_learns_saves_and_answers(name: str, tmp_path: Path):
    rows = ["path,label"]
    for wave, label in ((True, "wave"), (False, "sit down")):
        for number in range(3):
            file = tmp_path / f"{label[0]}{number}_skeleton.json"
            skeletons.write_ucla(file, wave, frames=30 + 2 * number)
            rows.append(f"{file.name},{label}")
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(rows) + "\n")
    settings = {**small(name), "epochs": 3, "batch": 4, "warmup_epochs": 0}
    mine = vlar.load("skeleton").adapt(table, method=name, settings=settings)
    assert mine.report.training is not None
    assert mine.report.training.method == name
    again = vlar.load(mine.save(tmp_path / "mine"))
    assert again.fingerprint == mine.fingerprint
    answers = [model.classify(tmp_path / "w1_skeleton.json") for model in (mine, again)]
    assert answers[0].predictions == answers[1].predictions
    assert answers[0].label == "wave"


def small(name: str) -> dict[str, Any]:
    """Settings of a preset for a test: as few and as narrow blocks as it takes."""
    config = registry.get("adapter", name).preset_settings
    return {"widths": [8, 8], "halved": [2], "frames": 16} if "body" not in config else {
        "slim": 0.1, "frames": 16}  # fmt: skip


def test_part_losses_of_gap_reach_the_heads_of_parts_alone(encoder: Encoder):
    tower = registry.get("adapter", "gap").attach(encoder, TINY)
    classes = tower.training_classes(["wave", "squat", "kick"])
    tower.trainable()
    inputs = torch.cat([inputs_of(tower.config), torch.randn(3, 64, tower.dim)], dim=2)
    batch = TrainingBatch(inputs, torch.eye(3))
    output = tower.training_step(batch, classes)
    output.losses["parts"].backward()
    reached = {name for name, p in tower.module.named_parameters()
               if p.grad is not None and p.grad.any()}  # fmt: skip
    assert {f"parts.heads.{n}.weight" for n in range(5)} <= reached
    assert not [name for name in reached if name.startswith("leave")]
    assert set(part_joints("ntu25")) == {"head", "hand", "hip", "foot"}


def test_settings_that_do_not_exist_are_refused():
    for settings, words in (
        ({"layout": "hands21", "heads": ["whole", "parts"]}, "remap"),
        ({"people": 60}, "people is 60; use a whole number from 1 and up to 8"),
        ({"streams": ["speed"]}, "speed"),
        ({"normalise": ["size"]}, "normalise"),
        ({"widths": []}, "widths"),
        ({"centres": ["tail"]}, "tail"),
        ({"aux": ["mmd"]}, "weights"),
    ):
        with pytest.raises(ModelError, match=words):
            TowerConfig.from_dict(settings)
    assert set(names()) >= {"ntu25"}
    assert dataclasses.is_dataclass(TowerConfig)


def test_a_preset_needs_bodies():
    with pytest.raises(ModelError, match="reads the joints of bodies"):
        registry.get("adapter", "gap").attach(vlar.load("imu").encoder)
