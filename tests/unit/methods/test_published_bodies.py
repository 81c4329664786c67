"""Released networks as towers and as encoders: sizes, graphs, class heads, a file's own classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vlar
from tests.refusals import refused
from tests.unit.methods import published
from tests.unit.methods.skeleton_bodies import body
from tests.unit.methods.test_released_bodies import golden, stored
from tests.unit.methods.test_skeleton_towers import clip_of, two_people
from vlar import registry
from vlar.encoders.base import Encoder, load_encoder
from vlar.errors import ModelError, UsageError
from vlar.methods.skeleton_towers import released
from vlar.methods.skeleton_towers.config import TowerConfig
from vlar.methods.skeleton_towers.encoder import STREAMS, prepared, stream_of
from vlar.methods.skeleton_towers.network import members
from vlar.methods.skeleton_towers.published import channel_graphs, level_joints, settings_of
from vlar.methods.skeleton_towers.released.hd_gcn import LEVELS
from vlar.training.trainable import TrainingBatch

TINY = {"layout": "kinect20", "slim": 0.1, "frames": 16}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return vlar.load("skeleton").encoder


@pytest.mark.parametrize(
    ("name", "network"),
    [("ctr-gcn", "ctrgcn"), ("hd-gcn", "hdgcn"), ("skateformer", "skateformer"),
     ("hyper-gcn", "hypergcn"), ("chase", "chase"), ("protogcn", "protogcn")],
)  # fmt: skip
def test_a_preset_is_the_released_network(name: str, network: str):
    part = registry.get("adapter", name)
    config = TowerConfig.from_dict({**part.preset_settings})
    given = members(config)[0][1]
    settings = settings_of(given)
    classes = 26 if network == "chase" else 60
    frames = {"protogcn": {"frames": 100}}.get(network, {})
    with torch.device("meta"):
        mine = released.build(network, {**settings, "num_classes": classes, **frames})
        theirs = released.build(network)
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in mine.state_dict().items()} == shapes


def test_graphs_start_as_published():
    config = TowerConfig(body="ctrgcn", streams=("joint",))
    own, inward, outward = channel_graphs(members(config)[0][1])
    assert torch.equal(own, torch.eye(25))
    assert inward[20, 4] == 1  # the chest takes all of the left shoulder
    assert outward[4, 20] == pytest.approx(1 / 4)  # of four children
    assert inward.sum(0).max() <= 1
    chest = TowerConfig(body="hdgcn", streams=("joint",), centres=("spine",))
    assert level_joints(members(chest)[0][1]) == LEVELS[2]


@pytest.mark.parametrize(
    "name", ["ctr-gcn", "man", pytest.param("hd-gcn-6", marks=pytest.mark.slow)]
)
def test_a_class_head_answers_its_labels_and_leaves_others_to_the_words(
    name: str, encoder: Encoder
):
    tower = registry.get("adapter", name).attach(encoder, {**TINY, "readout": "classes"})
    clips = [clip_of(two_people(30)), clip_of(two_people(20)[:, :1])]
    plain = encoder.encode(clips)
    for row, own in zip(tower.encode(clips), plain, strict=True):
        np.testing.assert_array_equal(row.vector, own.vector)  # before it has labels
    classes = tower.training_classes(["wave", "walk"])
    features = np.stack([row.features for row in tower.source.encode(clips)])
    inputs = torch.from_numpy(tower.training_inputs(features))
    tower.trainable()
    tower.module.train()
    batch = TrainingBatch(inputs, torch.eye(2))
    tower.training_step(batch, classes).losses["total"].backward()
    tower.module.eval().requires_grad_(False)
    tower.refresh()
    scores = tower.network.read(inputs[..., : -encoder.dim]).scores
    shares = scores.softmax(2).mean(0).log().numpy()
    words = np.concatenate(
        [tower.encode_text(row[:1]) for row in tower.label_texts(["wave", "walk"])]
    )
    vectors = np.stack([row.vector for row in tower.encode(clips)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors.shape[1] == tower.dim == sum(block.width for block in tower.blocks)
    logits = tower.logit_scale * vectors @ words.T
    np.testing.assert_allclose(logits - logits.max(1, keepdims=True),
                               shares - shares.max(1, keepdims=True), atol=1e-3)  # fmt: skip
    other = tower.logit_scale * vectors @ tower.encode_text(["sitting"]).T
    own = (
        encoder.logit_scale
        * np.stack([r.vector for r in plain])
        @ encoder.encode_text(["sitting"]).T
    )
    np.testing.assert_allclose(other, own, atol=1e-3)
    step = tower.training_step(batch, classes).logits
    np.testing.assert_allclose(step.detach().numpy(), logits, atol=1e-3)
    again = registry.get("adapter", name).attach(encoder, tower.settings)
    again.load_state_dict(tower.state_dict())
    np.testing.assert_array_equal(again.encode(clips)[0].vector, vectors[0])


def test_a_released_file_of_bodies_answers_with_its_own_classes(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    path = stored(tmp_path, "ctrgcn")
    spec = f"skeleton-net:{path}"
    refused(UsageError, "does not name its classes", load_encoder, spec)
    network = released.load("ctrgcn", path)
    count = network.fc.out_features
    labels = [f"{word} the ball" for word in ("kick", "throw", "catch", "hit", "roll", "head")]
    labels = [*labels, *(f"action {n}" for n in range(count - len(labels)))][:count]
    Path(f"{path}.labels.txt").write_text("\n".join(labels))
    encoder = load_encoder(spec)
    clip = clip_of(two_people(50))
    sizes = network.data_bn.num_features // 3
    (encoded,) = encoder.encode([clip])
    part = encoder.members[0]
    rows = prepared(clip, part.frames, part.people)
    assert rows.shape[0] * rows.shape[2] == sizes
    with torch.no_grad():
        logits = network(torch.from_numpy(np.ascontiguousarray(rows))[None])[0].numpy()
    shares = np.exp(encoded.features[0, :count])
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(), atol=1e-5)
    answer = encoded.vector @ encoder.encode_text(labels).T
    assert answer.argmax() == logits.argmax()
    assert encoder.trained_labels == tuple(labels)
    both = load_encoder(f"{spec}?bone={path}")
    assert both.frame_dim == encoder.frame_dim + part.head.in_features
    assert both.fingerprint != encoder.fingerprint
    refused(UsageError, "is none of joint, bone", load_encoder, f"{spec}?stream=speed")
    other = published.write("trx", tmp_path)
    refused(ModelError, "is none of the networks chase", load_encoder, f"skeleton-net:{other}")
    weights = load_file(path)
    for state, told in (
        ({**weights, "fc.extra": torch.ones(1)}, "1 left over (fc.extra)"),
        ({name: t for name, t in weights.items() if name != "fc.bias"}, "1 missing (fc.bias)"),
    ):
        save_file(state, path)
        assert told in refused(UsageError, "does not fit", load_encoder, spec).value.message
    pixels = clip_of(two_people(10)[..., :2], unit="px")
    refused(UsageError, "reads joints in metres", encoder.encode, [pixels])


def test_a_part_of_psumnet_reads_its_own_joints_and_bones(tmp_path: Path):
    path = stored(tmp_path, "psumnet")
    tensors = golden("psumnet")[2]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"action {n}" for n in range(tensors["out/logits"].shape[1])))
    (hand,) = load_encoder(f"skeleton-net:{path}?labels={labels}").members
    for points, x, logits in zip(
        tensors["input/points25"], tensors["input/x"], tensors["out/logits"], strict=True
    ):
        rows = hand.rows(points.numpy())
        np.testing.assert_allclose(rows, x.numpy(), atol=1e-6)
        with torch.no_grad():
            out = hand.head(hand.network(torch.from_numpy(rows)[None]))[0]
        torch.testing.assert_close(out, logits, atol=2e-5, rtol=0)
    # By hand: the leg's fifth joint hangs on its root and its ninth on itself, both one off.
    points = np.random.default_rng(0).normal(size=(1, 4, 9, 3)).astype(np.float32)
    bone = stream_of(points, "bone", "psumnet")
    np.testing.assert_array_equal(bone[:, :, 4], points[:, :, 4] - points[:, :, 0])
    assert not bone[:, :, [0, 8]].any()
    refused(UsageError, "no stream 'bone' alone", load_encoder,
            f"skeleton-net:{path}?stream=bone&labels={labels}")  # fmt: skip


K_BONES = (
    "0:20 1:1 2:2 3:20 4:4 5:20 6:4 7:5 8:8 9:20 10:8 11:9 12:1 13:0 14:12 15:13 16:1 17:0 18:16 "
    "19:17 20:20 21:7 22:6 23:11 24:10"
)  # of ProtoGCN, joint:joint it hangs on


def test_bones_over_two_steps_hang_as_published():
    points = np.random.default_rng(0).normal(size=(2, 5, 25, 3)).astype(np.float32)
    ends = [int(pair.partition(":")[2]) for pair in K_BONES.split()]
    bone = points - points[:, :, ends]
    np.testing.assert_array_equal(stream_of(points, "k_bone", "protogcn"), bone)
    motion = stream_of(points, "k_bone_motion", "protogcn")
    np.testing.assert_array_equal(motion[:, :-1], bone[:, 1:] - bone[:, :-1])


def test_a_list_names_members_with_weights_and_what_it_cannot_read_is_refused(tmp_path: Path):
    ctr, hd, hand = (stored(tmp_path, name) for name in ("ctrgcn", "hdgcn", "psumnet"))
    names = "\n".join(f"action {n}" for n in range(7))
    for file in (ctr, hd, hand, path := tmp_path / "all.json"):
        Path(f"{file}.labels.txt").write_text(names)
    clip = clip_of(two_people(30))

    def listed(*members: object) -> Encoder:
        path.write_text(json.dumps(members))
        return load_encoder(f"skeleton-net:{path}")

    def shares(encoder: Encoder) -> np.ndarray:
        return np.exp(encoder.encode([clip])[0].features[0, :7])

    one, two = (shares(load_encoder(f"skeleton-net:{file}")) for file in (ctr, hd))
    pair = listed({"file": ctr.name, "weight": 3}, {"file": hd.name, "stream": "joint"})
    np.testing.assert_allclose(shares(pair), 0.75 * one + 0.25 * two, atol=1e-5)
    assert np.abs(one - two).max() > 1e-3
    even = listed({"file": ctr.name}, {"file": hd.name})
    assert even.fingerprint != pair.fingerprint
    # Parts of PSUMNet add logits.
    alone = shares(load_encoder(f"skeleton-net:{hand}"))
    twice = shares(listed({"file": hand.name, "part": "hand", "weight": 1.8},
                          {"file": hand.name, "weight": 0.7}))  # fmt: skip
    np.testing.assert_allclose(twice, alone**2.5 / (alone**2.5).sum(), atol=1e-5)
    for rows, told in (
        (({"file": hand.name, "part": "leg"},), "is of the part 'hand', not 'leg'"),
        (({"file": ctr.name, "stream": "k_bone"},), "no stream 'k_bone' alone"),
        (({"file": ctr.name, "stream": "speed"},), "is not a member"),
        (({"file": ctr.name, "weight": -1},), "is not a member"),
        (({"file": ctr.name, "wieght": 1},), "is not a member"),
        ((7,), "is not a member"),
        ((), "lists no members"),
    ):
        refused(UsageError, told, listed, *rows)
    spec = f"skeleton-net:{ctr}?joint={hd}"
    refused(UsageError, "two files of the stream 'joint'", load_encoder, spec)
    refused(UsageError, "write every file and stream into it", load_encoder,
            f"skeleton-net:{path}?bone={hd}")  # fmt: skip
    refused(UsageError, "'bone' twice", load_encoder, f"skeleton-net:{ctr}?bone={hd}&bone={ctr}")
    refused(UsageError, "22 joints", load_encoder, f"skeleton-net:{stored(tmp_path, 'hypergcn')}")


def test_joints_are_prepared_as_the_papers_have_it():
    points = two_people(40)
    rows = prepared(clip_of(points), 64, 2)
    assert rows.shape == (2, 64, 25, 3)
    still = np.concatenate(
        [np.full_like(points[:5], np.nan), points, np.full_like(points[:9], np.nan)]
    )
    np.testing.assert_allclose(prepared(clip_of(still), 64, 2), rows, atol=1e-6)
    alone = prepared(clip_of(points[:, :1]), 64, 2)
    assert not alone[1].any()
    np.testing.assert_allclose(prepared(clip_of(points + 3.0), 64, 2), rows, atol=1e-5)
    bone = stream_of(rows, "bone", "ctrgcn")
    np.testing.assert_allclose(bone[:, :, 5], rows[:, :, 5] - rows[:, :, 4], atol=1e-6)
    motion = stream_of(rows, "motion", "ctrgcn")
    np.testing.assert_allclose(motion[:, :-1], rows[:, 1:] - rows[:, :-1], atol=1e-6)
    assert not motion[:, -1].any()
    assert len(STREAMS) == 4


def test_chase_gives_a_moved_scene_the_same_answer():
    network = body("chase", widths=(8, 8), halved=(2,), people=2, layout="kinect20")
    x = torch.randn(2, 2, 3, 16, 20)
    seen = torch.ones(2, 2, 16, 20)
    torch.nn.init.zeros_(network.network.shift[0].weight)
    one, two = (network(x + by, seen).vectors for by in (0.0, 2.0))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_a_tower_starts_from_a_file_with_a_new_head(encoder: Encoder, tmp_path: Path):
    from safetensors.torch import save_file

    from vlar.training.task import TrainingTask

    part, other = (registry.get("adapter", name) for name in ("ctr-gcn", "man"))
    first = part.attach(encoder, TINY).network.bodies[0].network
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.01)
    path = tmp_path / "mine.safetensors"
    head = {"fc.weight": torch.zeros(60, 24), "fc.bias": torch.zeros(60)}
    save_file({**first.state_dict(), **head}, path)
    assert part.settings_from(str(path)) == {"slim": 1.0, "frames": 64}
    task = TrainingTask(encoder, "ctr-gcn", None, "", {**TINY, "readout": "classes"}, 0, (), (),
                        str(path))  # fmt: skip
    tower = task.attach()
    tower.training_classes(["wave", "walk"])
    started = tower.network.bodies[0].network.state_dict()
    assert all(torch.equal(value, started[key]) for key, value in first.state_dict().items())
    assert tower.network.classes[0].rows.shape == (2, 24)
    refused(UsageError, "is of the network ctrgcn, and this method is memory", other.settings_from,
            str(path))  # fmt: skip
    part.attach(encoder, {**TINY, "slim": 0.2})
    refused(UsageError, "does not fit the network", part.attach(encoder, {**TINY, "slim": 0.2})
            .start_from, str(path))  # fmt: skip
