"""Skeleton towers: joints with a mask, the network that all presets share, and its families."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests import skeletons
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.lite.body import POSE_BLOCK
from vlar.errors import ModelError, UsageError
from vlar.evaluation.attacks.base import Surrogate, attack
from vlar.media.skeleton.layouts import layout, levels, names, tree
from vlar.methods.skeleton_towers import graphs
from vlar.methods.skeleton_towers.config import TowerConfig, part_joints
from vlar.methods.skeleton_towers.hull import hull_shift
from vlar.methods.skeleton_towers.joints import PER_JOINT, Joints, normalised
from vlar.methods.skeleton_towers.network import TowerNetwork, at_frames, streams_of
from vlar.methods.skeleton_towers.released.proto_gcn import remember
from vlar.pose.features import features_from_tracks
from vlar.pose.track import Tracks
from vlar.training.batches import Dataset
from vlar.training.checkpoint import CheckpointConfig
from vlar.training.data import FeatureLoader
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.loop import Training
from vlar.training.trainable import TrainingBatch
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
    one, two = (
        skeletons.walker(frames),
        skeletons.walker(frames, wave=False) + np.array([0.8, 0, 0]),
    )
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


def test_hands_teach_no_tower_of_bodies_and_stop_no_batch(
    encoder: Encoder, caplog: pytest.LogCaptureFixture
):
    hand = clip_of(np.zeros((40, 1, 21, 3)) + np.arange(21)[:, None], "hands21")
    tower = registry.get("adapter", "skeleton-tower").attach(encoder, TINY)
    rows = tower.encode([hand, clip_of(two_people())])
    assert "remap" in caplog.text
    np.testing.assert_array_equal(rows[0].vector, encoder.encode([hand])[0].vector)
    with pytest.raises(UsageError, match="remap"):
        tower.fit_inputs(rows[0].features[None])
    tower.fit_inputs(np.stack([row.features for row in rows]))


class Bodies(FakeEncoder):
    """An encoder of videos whose features are bodies alone."""

    def __init__(self) -> None:
        self.frame_blocks = (FrameBlock("look", 3, "appearance"), POSE_BLOCK)
        self.frame_dim, self.fingerprint = 3 + POSE_BLOCK.width, "bodies"


def test_bodies_of_a_video_are_read_from_the_features():
    path = (skeletons.picture("mediapipe33") - 400) / 400 + 0.5  # heights of the picture
    still = np.repeat(path[:1], len(path), axis=0) + np.array([0.3, 0])
    points = np.stack([still, path])
    tracked = np.concatenate([points, np.ones_like(points[..., :1])], axis=3).astype(np.float32)
    tracked[1, :, 16, 2] = 0  # the right wrist is hidden
    times_s = np.arange(len(path)) / 30
    pose = features_from_tracks(
        Tracks(tracked, np.ones(points.shape[:2], np.float32)), times_s, 1.6
    )
    features = np.concatenate([np.zeros((len(path), 3), np.float32), pose], axis=1)
    part = Joints(Bodies(), "mediapipe33", 2)
    found = part.rows(clip_of(two_people()), features).reshape(len(path), 2, 33, 4)
    steps = np.abs(np.diff(found[..., :3], axis=0)).sum(axis=(0, 2, 3))
    assert steps[0] > 10 * steps[1]
    assert not found[:, 0, 16].any()
    assert found[:, 0, 14, 3].all()
    nose, ankle = found[0, 1, 0, 1], found[0, 1, 27, 1]
    assert nose > ankle + 2  # y is up, in trunks
    nobody = part.rows(clip_of(two_people()), np.zeros_like(features))
    assert not nobody.any()


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
    assert list(network.streams) == [("joint",), ("bone",), ("motion",)]
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
    assert [int(each[1].sum()) for each in found] == [a * b for a, b in itertools.pairwise(counts)]
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


# CHASE


def test_the_origin_is_a_weighted_mean_of_seen_joints():
    random = torch.Generator().manual_seed(1)
    points = torch.randn(2, 5, 2, 7, 3, generator=random)
    shifted, origin = hull_shift(points, torch.zeros(2, 5, 2, 7))
    torch.testing.assert_close(origin, points.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(shifted, points - origin[:, None, None, None])
    one = torch.zeros(2, 5, 2, 7)
    one[:, 3, 1, 4] = 80
    torch.testing.assert_close(hull_shift(points, one)[1], points[:, 3, 1, 4])
    scores = torch.randn(2, 5, 2, 7, generator=random)
    moved = points + torch.tensor([5.0, -3.0, 2.0])
    torch.testing.assert_close(
        hull_shift(moved, scores)[0], hull_shift(points, scores)[0], rtol=1e-4, atol=1e-5
    )
    holes = points.clone()
    holes[0, :, 1] = torch.nan
    holes[1, 2, 0, 3, 1] = torch.nan
    found, origin = hull_shift(holes, scores.index_fill(2, torch.tensor([1]), 90.0))
    assert torch.isfinite(origin).all()
    torch.testing.assert_close(
        origin[0], hull_shift(points[:1, :, :1], scores[:1, :, :1])[1][0], rtol=1e-4, atol=1e-5
    )
    assert torch.isnan(found[1, 2, 0, 3]).any()
    assert not hull_shift(torch.full((1, 2, 1, 3, 3), torch.nan), torch.zeros(1, 2, 1, 3))[1].any()


def test_the_origin_lies_in_the_hull_of_the_joints():
    from scipy.optimize import linprog

    random = torch.Generator().manual_seed(2)
    points = 3 + torch.randn(1, 4, 2, 6, 3, generator=random, dtype=torch.float64)
    scores = 4 * torch.randn(1, 4, 2, 6, generator=random, dtype=torch.float64)
    flat = points.flatten(1, 3)[0].numpy()
    for origin, inside in ((hull_shift(points, scores)[1][0].numpy(), True), (flat[0] + 99, False)):
        equal = np.vstack([flat.T, np.ones(len(flat))])
        found = linprog(np.zeros(len(flat)), A_eq=equal, b_eq=[*origin, 1.0])
        assert (found.status == 0) == inside


# ProtoGCN


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_memories_move_to_the_mean_of_right_answers(momentum: float):
    memory = torch.tensor([[1.0, 0.0], [5.0, 6.0], [7.0, 8.0]])
    before = memory.clone()
    vectors = torch.tensor([[0.0, 1.0], [0.0, 3.0], [9.0, 9.0], [4.0, 4.0]])
    y, right = torch.tensor([0, 0, 1, 2]), torch.tensor([True, True, False, True])
    found = remember(memory, vectors, y, right, momentum=momentum)
    wanted = torch.tensor([momentum, (1 - momentum) * 2])
    torch.testing.assert_close(found[0], wanted)
    torch.testing.assert_close(found[1], memory[1])
    torch.testing.assert_close(found[2], momentum * memory[2] + (1 - momentum) * 4)
    torch.testing.assert_close(memory, before)
    if momentum == 0.9:
        torch.testing.assert_close(remember(memory, vectors, y, right)[0], torch.tensor([0.9, 0.2]))


def training_of(keep: CheckpointConfig | None = None, *, frozen: bool = False) -> Training:
    """A few steps of a small ProtoGCN on random clips."""
    encoder = vlar.load("skeleton").encoder
    tower = registry.get("adapter", "protogcn").attach(
        encoder, {"widths": [8, 8], "halved": [2], "frames": 8, "people": 1, "layout": "coco17"}
    )
    random = np.random.default_rng(0)
    joints = random.normal(size=(6, 64, 17, 4)).astype(np.float32)
    joints[..., 3] = 1
    pooled = np.zeros((6, 64, tower.dim), np.float32)
    pooled[..., 0] = 1
    inputs = np.concatenate([joints.reshape(6, 64, -1), pooled], axis=2)
    paths = [Path(str(row)) for row in range(6)]
    dataset = Dataset.single(["jump", "wave"], ["jump", "wave"] * 3, list("abcdef"), paths)
    numbers = Hyperparameters(epochs=6, batch=3, warmup_epochs=0, learning_rate=2e-2)
    made = Training(tower, FeatureLoader(inputs, paths), dataset, numbers, checkpoints=keep)
    if frozen:
        tower.network.bodies[0].network.backbone.prn.requires_grad_(False)
    return made


def test_memories_survive_saving_and_a_resumed_training(tmp_path: Path):
    whole = training_of()
    whole.run()
    name = "aux.prototypes.memory"
    memory = whole.adapter.state_dict()[name]
    start = training_of().adapter.state_dict()[name]
    assert np.abs(memory - start).max() > 0
    training_of(CheckpointConfig(tmp_path, "key", every=1)).run(stop_after=3)
    rest = training_of(CheckpointConfig(tmp_path, "key", every=1))
    assert rest.run().resumed_at == 6
    np.testing.assert_array_equal(rest.adapter.state_dict()[name], memory)
    again = registry.get("adapter", "protogcn").attach(
        vlar.load("skeleton").encoder, whole.adapter.settings
    )
    again.load_state_dict(whole.adapter.state_dict())
    np.testing.assert_array_equal(again.state_dict()[name], memory)
    assert again.fingerprint == whole.adapter.fingerprint
    again.relabel(["sit", "stand", "lie"])
    assert again.state_dict()[name].shape == (3, 256)


def test_frozen_prototypes_change_the_loss():
    losses = [training_of(frozen=frozen).run().epochs for frozen in (False, True)]
    first, last = ([each[at].losses["prototypes"] for each in losses] for at in (0, -1))
    assert abs(last[0] - last[1]) > 1e-4
    assert first[0] != last[0]


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


def test_a_tower_is_adapted_saved_loaded_and_asked(tmp_path: Path):
    rows = ["path,label"]
    for wave, label in ((True, "wave"), (False, "sit down")):
        for number in range(2):
            file = tmp_path / f"{label[0]}{number}_skeleton.json"
            skeletons.write_ucla(file, wave, frames=30 + 2 * number)
            rows.append(f"{file.name},{label}")
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(rows) + "\n")
    settings = {"widths": [8], "frames": 8, "epochs": 3, "batch": 4, "warmup_epochs": 0,
                "adversarial": 0.02}  # fmt: skip
    mine = vlar.load("skeleton").adapt(table, method="skeleton-tower", settings=settings)
    assert mine.report.training is not None
    assert mine.report.training.recipe == "skeleton-tower/adapt"
    again = vlar.load(mine.save(tmp_path / "mine"))
    assert again.fingerprint == mine.fingerprint
    answers = [model.classify(tmp_path / "w1_skeleton.json") for model in (mine, again)]
    assert answers[0].predictions == answers[1].predictions
    assert answers[0].label == "wave"


@pytest.mark.parametrize("name", ["skeleton-tower", *PRESETS])
def test_a_preset_starts_at_its_encoder_learns_and_is_built_again(name: str, encoder: Encoder):
    part = registry.get("adapter", name)
    tower = part.attach(encoder, {"slim": 0.1, "frames": part.preset_settings.get("frames", 16)})
    features = tower.source.encode([clip_of(two_people())])[0].features[None]
    np.testing.assert_array_equal(
        tower.pool(features), encoder.pool(features[..., : encoder.frame_dim])
    )
    classes = tower.training_classes(["wave", "squat"])
    optimiser = torch.optim.AdamW([p for _, p in tower.trainable()], lr=1e-2)
    tower.module.train()
    batch = TrainingBatch(torch.from_numpy(np.repeat(features, 2, axis=0)), torch.eye(2))
    losses: list[float] = []
    for _ in range(2):
        torch.manual_seed(0)
        optimiser.zero_grad()
        loss = tower.training_step(batch, classes).losses["total"]
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    tower.module.eval().requires_grad_(False)
    tower.refresh()
    assert np.abs(tower.pool(features) - encoder.pool(features[..., : encoder.frame_dim])).max() > 0
    again = part.attach(encoder, tower.settings)
    again.load_state_dict(tower.state_dict())
    assert again.fingerprint == tower.fingerprint
    np.testing.assert_array_equal(again.pool(features), tower.pool(features))


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


def two_actions(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (N, 8, 17 * 4) and labels: a hand tells the action, and faint moves of all joints."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    joints = 0.1 * torch.randn(count, 8, 17, 4, generator=random)
    joints[..., 0] += 0.05 * (2 * y - 1)[:, None, None]
    joints[..., 9, 1] += 0.6 * (2 * y - 1)[:, None]
    joints[..., 3] = 1
    return joints.flatten(2), y


def lost_answers(encoder: Encoder, adversarial: float) -> tuple[int, int]:
    """Right answers of a tiny tower of 40 clips, and how many of them a white box takes."""
    settings = {"widths": [8, 8], "halved": [], "frames": 8, "people": 1, "layout": "coco17",
                "streams": ["joint"], "body": "two-streams", "readout": "classes",
                "adversarial": adversarial}  # fmt: skip
    tower = registry.get("adapter", "skeleton-tower").attach(encoder, settings)
    classes = tower.training_classes(["jump", "wave"])
    optimiser = torch.optim.AdamW([p for _, p in tower.trainable()], lr=2e-2)
    tower.module.train()
    x, y = two_actions(16, seed=0)
    inputs = torch.cat([x, torch.zeros(16, 8, encoder.dim)], dim=2)
    inputs[..., x.shape[2]] = 1
    torch.manual_seed(0)
    for _ in range(20):
        optimiser.zero_grad()
        batch = TrainingBatch(inputs, torch.eye(2)[y])
        tower.training_step(batch, classes).losses["total"].backward()
        optimiser.step()
    assert all(part.training for part in tower.network.modules())
    tower.module.eval().requires_grad_(False)
    x, y = two_actions(40, seed=1)
    rows = x.unflatten(2, (17, 4))

    def logits(joints: torch.Tensor) -> torch.Tensor:
        return tower.network.read(torch.cat([joints, rows[..., 3:]], -1).flatten(2)).scores[0]

    moved = attack("pgd", Surrogate(logits, y), rows[..., :3], eps=0.08, steps=5)
    right, after = (logits(joints).argmax(1) == y for joints in (rows[..., :3], moved))
    return int(right.sum()), int((right & ~after).sum())


def test_a_tower_that_learned_from_moved_joints_loses_fewer_answers_to_a_white_box(
    encoder: Encoder,
):
    plain, lost = lost_answers(encoder, 0.0)
    defended, lost_then = lost_answers(encoder, 0.05)
    assert min(plain, defended) >= 36
    assert lost_then + 8 <= lost


def test_settings_that_do_not_exist_are_refused():
    for settings, words in (
        ({"layout": "hands21", "heads": ["whole", "parts"]}, "remap"),
        ({"people": 60}, "people is 60; use a whole number from 1 and up to 8"),
        ({"streams": ["speed"]}, "speed"),
        ({"normalise": ["size"]}, "normalise"),
        ({"widths": []}, "widths"),
        ({"centres": ["tail"]}, "tail.*--set centres=A,B"),
        ({"aux": ["mmd"]}, "weights"),
    ):
        with pytest.raises(ModelError, match=words):
            TowerConfig.from_dict(settings)
    assert set(names()) >= {"ntu25"}
    assert dataclasses.is_dataclass(TowerConfig)


def test_a_preset_needs_bodies():
    with pytest.raises(ModelError, match="reads the joints of bodies"):
        registry.get("adapter", "gap").attach(vlar.load("imu").encoder)
