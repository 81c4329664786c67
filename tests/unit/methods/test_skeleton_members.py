"""MAN, Ensemble 1D-CNN, PSUMNet: weights of frames, members that err apart, parts of a body."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import vlar
from tests.refusals import refused
from tests.unit.methods.skeleton_bodies import body, right, scene, size, train
from tests.unit.methods.test_skeleton_towers import clip_of, two_people
from vlar import registry
from vlar.encoders.base import Encoder
from vlar.errors import ModelError
from vlar.media.skeleton.layouts import layout, parts
from vlar.methods.skeleton_towers import tower
from vlar.methods.skeleton_towers.config import BODIES, TowerConfig, loaded
from vlar.methods.skeleton_towers.joints import PER_JOINT, Joints
from vlar.methods.skeleton_towers.memory import MemoryAttention
from vlar.methods.skeleton_towers.network import TowerNetwork, members
from vlar.training.trainable import TrainingBatch


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return vlar.load("skeleton").encoder


MEMBERS = ("two-streams", "limbs", "gated", "differences")


# Memory


def _planted(n: int, frames: int, span: slice, seed: int) -> tuple[torch.Tensor, ...]:
    """Joints that lean to the side of their label in some frames, in noise of all frames."""
    x, seen = scene(n, 1, frames, 20, seed)
    y = torch.arange(n) % 2
    x = 3 * x
    x[..., span, :] += (2.0 * y - 1)[:, None, None, None, None]
    return x, seen, y


@pytest.mark.slow
@pytest.mark.parametrize("span", [slice(3, 6), slice(10, 13)])
def test_weights_rise_on_the_frames_that_tell_the_label(span: slice):
    x, seen, y = _planted(128, 16, span, 0)
    network = body("memory", widths=(8, 8), halved=(2,), layout="kinect20")

    def weights() -> torch.Tensor:
        with torch.no_grad():
            return network.attention.recalled(x[:, 0].flatten(0, 1))[1].mean(dim=0)

    before = weights()
    head = train(network, x, seen, y, steps=60)
    assert right(network, head, *_planted(64, 16, span, 1)) > 0.9
    rise = weights() - before
    other = torch.ones(16, dtype=torch.bool)
    other[span] = False
    assert rise[span].mean() > 2 * rise[other].mean()


def test_the_memory_is_residual_and_reads_both_directions():
    torch.manual_seed(0)
    layer = MemoryAttention(6, 8, 4)
    x = torch.randn(2, 8, 6)
    memory, weights = layer.recalled(x)
    assert memory.shape == (2, 8, 4)
    assert ((weights > 0) & (weights < 1)).all()
    torch.testing.assert_close(layer(x), x + layer.leave(memory * weights[..., None]))
    moved = x.clone()
    moved[:, 4] += 1
    changed = (layer.recalled(moved)[0] - memory).abs().sum(dim=(0, 2)) > 0
    assert changed.all()
    layer.leave.weight.data.zero_()
    layer.leave.bias.data.zero_()
    assert torch.equal(layer(x), x)


def test_all_people_are_one_picture():
    network = body("memory", widths=(8, 8, 16, 16), halved=(2, 3, 4), people=2, layout="coco17")
    x, seen = scene(3, 2, 16, 17)
    assert network(x, seen).vectors.shape == (3, 16)
    assert network.attention.enter.in_features == 34
    layers = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    assert sum(layer.kernel_size == (3, 3) for layer in layers) == 9


# Ensemble


def _moving(n: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, ...]:
    """Right and left arms that go up or down, in noise; four labels."""
    x, seen = scene(n, 1, 16, 20, seed)
    y = torch.arange(n) % 4
    way = torch.linspace(-1, 1, 16)[:, None]
    x = noise * x
    x[:, 0, 1, :, 8:12] += way * (2.0 * (y // 2) - 1)[:, None, None]
    x[:, 0, 1, :, 4:8] += way * (2.0 * (y % 2) - 1)[:, None, None]
    return x, seen, y


def test_the_errors_of_members_correlate_below_one_and_their_sum_is_better():
    rows = _moving(96, 0, 1.0)
    test = _moving(200, 1, 1.0)
    scores: list[torch.Tensor] = []
    for name in MEMBERS:
        network = body(name, widths=(16, 16), halved=(2,), layout="kinect20")
        head = train(network, *rows, steps=30, labels=4)
        with torch.no_grad():
            scores.append(head(network(*test[:2]).vectors).softmax(dim=1))
    wrong = np.array([(s.argmax(dim=1) != test[2]).numpy() for s in scores], float)
    assert (wrong.mean(axis=1) < 0.7).all(), wrong.mean(axis=1)  # chance is 0.75
    related = np.corrcoef(wrong)[np.triu_indices(4, 1)]
    assert related.max() < 0.9
    fused = (sum(scores).argmax(dim=1) != test[2]).float().mean()
    assert fused < wrong.mean(axis=1).mean()


def test_each_member_reads_what_it_is_named_for():
    x, seen = scene(2, 2, 16, 20)
    x.requires_grad_()
    for name in MEMBERS:
        network = body(name, widths=(16, 16), halved=(2,), layout="kinect20", people=2)
        vectors = network(x, seen).vectors
        assert vectors.shape == (2, 16)
        # The mean over people who are there: the same for any order.
        torch.testing.assert_close(network(x.flip(1), seen).vectors, vectors)
        absent = seen.clone()
        absent[0, 1] = 0
        alone = network(x[:1, :1], seen[:1, :1]).vectors
        torch.testing.assert_close(network(x * absent[:, :, None], absent).vectors[:1], alone)
        absent[:] = 0
        assert (network(x * 0, absent).vectors == 0).all()
        raised = network(x + 5.0, seen).vectors
        same = torch.allclose(raised, vectors, atol=1e-4)
        assert same == (name == "differences")
    limbs = body("limbs", widths=(40, 40), halved=(), layout="kinect20")
    limbs.join = torch.nn.Identity()
    limbs(x, seen).vectors[0, :8].sum().backward()  # the first eight are of the right arm
    assert x.grad is not None
    reached = (x.grad.abs().sum(dim=(0, 1, 2, 3)) > 0).nonzero().flatten().tolist()
    assert reached == [8, 9, 10, 11]


def test_sizes_of_the_members_are_near_each_other():
    wide = {"widths": (128, 128, 256, 256), "halved": (2, 4), "layout": "ntu25", "frames": 64}
    sizes = [size(body(name, **wide)) for name in MEMBERS]
    assert 2.5e6 < sum(sizes) < 3.5e6


# Parts of a body

PARTS = {
    "fuse": "parts", "streams": ("joint", "bone", "motion", "bone_motion"), "frames": 16,
    "people": 1, "layout": "kinect20", "rotate": 0.0,
}  # fmt: skip


def test_psumnet_has_the_published_sizes():
    body_of = {"layout": "ntu25", "frames": 64, "people": 2, "body": "psumnet"}
    wide = TowerConfig(**{**PARTS, **body_of})
    sizes: list[int] = []
    for streams, given in members(wide):
        assert (len(streams), given.channels) == (4, 12)
        sizes.append(size(loaded(BODIES, given.body)(given), 60))
    assert [len(given.joints) for _, given in members(wide)] == [25, 13, 9]
    assert [len(given.widths) for _, given in members(wide)] == [10, 6, 4]
    assert sizes == [1_448_418, 978_482, 499_898]


def test_a_stream_of_arms_is_blind_to_legs_and_the_other_way_round():
    torch.manual_seed(0)
    network = TowerNetwork(TowerConfig(**PARTS, widths=(8, 8, 16), halved=(3,)), 12).eval()
    for leave in network.leave:
        leave.weight.data.normal_()
    inputs = torch.randn(1, 16, 20 * PER_JOINT)
    inputs.view(1, 16, 20, PER_JOINT)[..., 3] = 1
    inputs.requires_grad_()
    of = {part: rows.tolist() for part, rows in parts("kinect20").items()}
    joints = layout("kinect20").joints
    hips = [at for at, name in enumerate(joints) if name.endswith("_hip")]
    arms, legs = of["arms"] + of["hands"], of["legs"] + of["feet"] + hips
    residuals = network.read(inputs).residuals
    for member, blind, reads in ((0, [], arms + legs), (1, legs, arms), (2, arms, legs)):
        (grad,) = torch.autograd.grad(residuals[member].sum(), inputs, retain_graph=True)
        moved = grad.view(16, 20, PER_JOINT)[..., :3].abs().sum(dim=(0, 2))
        assert (moved[blind] == 0).all()
        assert (moved[reads] > 0).all()


def test_moving_the_root_moves_all_streams(encoder: Encoder):
    clip = clip_of(two_people(40)[:, :1])
    other = clip_of(two_people(40)[:, :1])
    other.data[:, :, layout("kinect20").joints.index("pelvis")] += np.float32([0.1, 0.2, 0])
    rows = [
        Joints(encoder, "kinect20", 1, ("root",)).rows(each, np.zeros((16, 1), np.float32))
        for each in (clip, other)
    ]
    network = TowerNetwork(TowerConfig(**PARTS, widths=(8, 8), halved=()), 12).eval()
    for leave in network.leave:
        leave.weight.data.normal_()
    found = [network.read(torch.from_numpy(each)[None]).residuals[:, 0] for each in rows]
    assert ((found[0] - found[1]).abs().amax(dim=1) > 1e-5).all()


def test_a_person_is_read_with_the_next_one():
    small = {"layout": "kinect20", "people": 2, "frames": 8, "widths": (16, 16), "halved": ()}
    subnets = {"fuse": "late", "streams": ("joint",), "bodies": ("two-streams", "limbs")}
    torch.manual_seed(0)
    network = TowerNetwork(TowerConfig(**small, **subnets, paired=True), 12).eval()
    rows = torch.cat([torch.randn(1, 8, 2, 20, 3), torch.ones(1, 8, 2, 20, 1)], dim=-1)
    step = torch.tensor([0.5, 0, 0, 0])
    apart = torch.cat([rows[:, :, :1], rows[:, :, 1:] + step], dim=2)
    found = network.read(torch.cat([rows, rows.flip(2), rows + step, apart]).flatten(2)).found
    for vectors in (member.vectors.detach() for member in found):
        torch.testing.assert_close(vectors[1], vectors[0])  # the order of the people
        torch.testing.assert_close(vectors[2], vectors[0])  # where the scene is
        assert (vectors[3] - vectors[0]).abs().max() > 1e-4  # where the other person is


@pytest.mark.parametrize("toward", [True, False])
def test_the_camera_changes_nothing_where_people_are_turned_toward_each_other(toward: bool):
    small = {"layout": "kinect20", "people": 2, "frames": 8, "widths": (16, 16), "halved": ()}
    subnets = {"fuse": "late", "streams": ("joint",), "bodies": ("two-streams", "limbs")}
    normalise = ("root", "scale", "toward") if toward else ("root", "scale")
    torch.manual_seed(0)
    config = TowerConfig(**small, **subnets, paired=True, normalise=normalise)
    network = TowerNetwork(config, 12).eval()
    rows = torch.cat([torch.randn(1, 8, 2, 20, 3), torch.ones(1, 8, 2, 20, 1)], dim=-1)
    turn = torch.tensor([[0.6, 0, -0.8, 0], [0, 1, 0, 0], [0.8, 0, 0.6, 0], [0, 0, 0, 1]])
    alone = rows * torch.tensor([1.0, 0.0])[:, None, None]
    scenes = [rows, rows @ turn, (rows @ turn).flip(2), alone, alone @ turn]
    found = network.read(torch.cat(scenes).flatten(2)).found
    for vectors in (member.vectors.detach() for member in found):
        same = (vectors[1:3] - vectors[0]).abs().max() < 1e-5
        assert same == toward
        assert (vectors[4] - vectors[3]).abs().max() > 1e-3  # nobody is there to turn to


# As methods


@pytest.mark.parametrize("name", ["skateformer", "ista-net", "stc-net", "psumnet", "man",
                                  "ensemble-1d"])  # fmt: skip
def test_every_preset_trains_a_step_and_starts_as_its_encoder(encoder: Encoder, name: str):
    small = {"layout": "kinect20", "slim": 0.1, "frames": 16}
    made = registry.get("adapter", name).attach(encoder, small)
    clips = [clip_of(two_people(30)), clip_of(two_people(20)[:, :1])]
    plain = [row.vector for row in encoder.encode(clips)]
    for row, vector in zip(made.encode(clips), plain, strict=True):
        np.testing.assert_array_equal(row.vector, vector)
    classes = made.training_classes(["wave", "walk"])
    features = np.stack([row.features for row in made.source.encode(clips)])
    inputs = torch.from_numpy(made.training_inputs(features))
    named = made.trainable()
    made.module.train()
    found = made.training_step(TrainingBatch(inputs, torch.eye(2)), classes)
    found.losses["total"].backward()
    leaves = [p.grad for parameter, p in named if parameter.startswith("leave")]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in leaves)
    assert len(leaves) == 2 * {"psumnet": 3, "ensemble-1d": 4}.get(name, 1)
    with torch.no_grad():
        for leave in made.network.leave:
            leave.weight.normal_()
    made.module.eval()
    made.refresh()
    alone, both = made.encode(clips[:1])[0].vector, made.encode(clips)
    np.testing.assert_array_equal(alone, both[0].vector)
    assert np.abs(alone - plain[0]).max() > 1e-6
    assert abs(np.linalg.norm(both[1].vector) - 1) < 1e-5  # also with one person, of two


@pytest.mark.parametrize(("name", "settings", "says"), [
    ("psumnet", {"layout": "hands21"}, "remap"),
    ("skateformer", {"frames": 36}, "frames is 36; use a multiple of 64"),
    ("skateformer", {"people": 60}, "people is 60"),
    ("ensemble-1d", {"bodies": ["limbs", "trunk"]}, "'trunk'.*two-streams"),
    ("ista-net", {"pieces": 0}, "pieces is 0"),
    ("stc-net", {"dilation": 0}, "dilation is 0"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(
    encoder: Encoder, name: str, settings: dict[str, object], says: str
):
    refused(ModelError, says, registry.get("adapter", name).attach, encoder, settings)


def test_one_person_is_noted_where_people_are_related(
    encoder: Encoder, caplog: pytest.LogCaptureFixture
):
    small = {"layout": "kinect20", "slim": 0.1, "frames": 16}
    for name, people, noted in (("ista-net", 1, True), ("ista-net", 2, False), ("man", 1, False)):
        caplog.clear()
        tower._note_one_person.cache_clear()
        made = registry.get("adapter", name).attach(encoder, small)
        clip = clip_of(two_people(20)[:, :people])
        made.fit_inputs(made.source.encode([clip])[0].features[None])
        assert ("each of these clips shows one" in caplog.text) == noted


def test_a_clip_of_one_frame_has_a_vector(encoder: Encoder):
    clip = clip_of(two_people(1))
    for name in ("skateformer", "ista-net", "stc-net", "psumnet", "man", "ensemble-1d"):
        small = {"layout": "kinect20", "slim": 0.1, "frames": 16}
        made = registry.get("adapter", name).attach(encoder, small)
        with torch.no_grad():
            for leave in made.network.leave:
                leave.weight.normal_()
        assert np.isfinite(made.encode([clip])[0].vector).all()


@pytest.mark.parametrize("given", [{"paired": True}, {"normalise": ("root", "toward")}])
def test_what_relates_two_people_is_refused_where_no_body_reads_it(given: dict[str, Any]):
    with pytest.raises(ModelError, match="ensemble-1d alone; 'memory' does not read it"):
        TowerConfig(body="memory", **given).check()
