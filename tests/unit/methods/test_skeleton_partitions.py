"""SkateFormer and ISTA-Net: partitions, attention inside of them, people in any order."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.refusals import refused
from tests.unit.methods.skeleton_bodies import body, right, scene, size, train
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.skeleton_towers import tokens
from vlar.methods.skeleton_towers.limbs import limbs, stream_joints
from vlar.methods.skeleton_towers.partitions import KINDS, PartitionAttention, partition, restore

SKATE = (96, 96, 192, 192, 192, 192, 192, 192)
SMALL = {"widths": (24, 24, 48), "halved": (3,), "layout": "kinect20"}


# Partitions


@pytest.mark.parametrize(("frames", "joints", "size_"), [(8, 12, (4, 4)), (6, 10, (3, 5))])
def test_near_takes_runs_and_far_takes_strides(frames: int, joints: int, size_: tuple[int, int]):
    place = torch.arange(frames)[:, None] * 100 + torch.arange(joints)
    x = place[None, None].float()
    t, v = size_
    rows = {"near": range(t), "far": range(0, frames, frames // t)}
    columns = {"near": range(v), "far": range(0, joints, joints // v)}
    for of_joints, of_frames in KINDS:
        first = partition(x, of_joints, of_frames, size=size_)[0, 0, 0]
        expected = [[100 * r + c for c in columns[of_joints]] for r in rows[of_frames]]
        assert first.tolist() == expected
        second = partition(x, of_joints, of_frames, size=size_)[0, 1, 0]
        same_frames = (second // 100 == first // 100).all()
        assert same_frames == (joints > v)  # blocks of frames are the outer order
    assert rows["far"] == range(0, 8, 2) or frames == 6


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("size_", [(4, 4), (2, 6), (8, 1)])
def test_restoring_a_partition_is_exact(kind: tuple[str, str], size_: tuple[int, int]):
    x = torch.randn(2, 3, 8, 12)
    parts = partition(x, *kind, size=size_)
    assert parts.shape == (2, 96 // (size_[0] * size_[1]), 3, *size_)
    assert torch.equal(restore(parts, *kind, shape=(8, 12)), x)
    assert torch.equal(restore(parts, *kind, shape=x.shape), x)
    other = "far" if kind[0] == "near" else "near"
    if size_[1] not in (1, 12):
        assert not torch.equal(restore(parts, other, kind[1], shape=(8, 12)), x)


def test_partitions_that_do_not_divide_are_refused():
    x = torch.zeros(1, 1, 8, 12)
    refused(UsageError, "5 frames x 4 joints do not divide 8 x 12", partition, x, "near", "far",
            size=(5, 4))  # fmt: skip
    refused(UnknownNameError, "did you mean 'far'", partition, x, "fare", "near", size=(4, 4))
    parts = partition(x, "near", "near", size=(4, 4))
    refused(UsageError, "do not make 8 x 16", restore, parts, "near", "near", shape=(8, 16))


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_attention_reads_nothing_outside_of_its_part(kind: tuple[str, str]):
    torch.manual_seed(0)
    layer = PartitionAttention(2, *kind, (4, 3))
    layer.bias.data.normal_()
    x = torch.randn(1, 4, 8, 12, requires_grad=True)
    mask = torch.ones(1, 8, 12)
    layer(x, x, x, mask)[0, :, 1, 2].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(dim=0) > 0
    place = torch.arange(96).view(1, 1, 8, 12)
    parts = partition(place, *kind, size=(4, 3))[0, :, 0]
    own = next(part for part in parts if (part == 14).any()).flatten().tolist()
    assert sorted(reached.flatten().nonzero().flatten().tolist()) == sorted(own)


def test_operations_are_those_counted_by_hand():
    x = torch.randn(2, 8, 8, 12)
    layer = PartitionAttention(2, "near", "far", (4, 3))
    with FlopCounterMode(display=False) as counter:
        layer(x, x, x, torch.ones(2, 8, 12))
    tokens_, parts_ = 4 * 3, 2 * (8 * 12) // (4 * 3)
    by_hand = 2 * 2 * parts_ * tokens_**2 * 8  # scores and values, a product and a sum each
    assert counter.get_total_flops() == by_hand


def test_an_unseen_joint_gives_nothing_to_the_others():
    network = body("partitions", **SMALL)
    x, seen = scene(2, 1, 16, 20)
    seen[:, :, :, 7] = 0
    found = network(x * seen[:, :, None], seen).vectors
    for block in network.blocks:
        mask = seen[:, 0].clone()
        wide = torch.randn(2, 16, 20, 24)
        if block.norm.normalized_shape != (24,):
            continue
        moved = wide.clone()
        moved[:, :, 7] += 3
        rest = [joint for joint in range(20) if joint != 7]
        torch.testing.assert_close(block(wide, mask)[:, :, rest], block(moved, mask)[:, :, rest])
    assert torch.isfinite(found).all()


def test_skateformer_has_the_published_size_and_reads_every_layout():
    wide = {"widths": SKATE, "halved": (3, 5, 7), "people": 2, "frames": 64, "layout": "ntu25"}
    assert size(body("partitions", **wide), 60) == pytest.approx(3.62e6, rel=0.03)
    assert size(body("partitions", ratio=1.0, **wide), 60) == pytest.approx(2.17e6, rel=0.03)
    for layout, people in (("coco17", 1), ("hands21", 2), ("h36m17", 2), ("ntu25", 1)):
        network = body("partitions", **{**SMALL, "layout": layout, "people": people})
        joints = sum(map(len, limbs(layout).values()))
        x, seen = scene(3, people, 16, joints)
        vectors = network(x, seen).vectors
        assert vectors.shape == (3, 48)
        torch.testing.assert_close(network(x[:1], seen[:1]).vectors, vectors[:1])
        if people == 2:  # an absent person changes the answer of nobody
            seen[:, 1] = 0
            alone = network(x * seen[:, :, None], seen).vectors
            x[:, 1] = 5
            torch.testing.assert_close(network(x * seen[:, :, None], seen).vectors, alone)
    refused(ModelError, "multiples of 8", body, "partitions", widths=(20,), halved=())


def test_limbs_are_those_of_the_paper():
    assert [len(limb) for limb in limbs("ntu25").values()] == [6, 6, 4, 4, 5]
    assert [len(limb) for limb in limbs("kinect20_utd").values()] == [4, 4, 4, 4, 4]
    assert len(stream_joints("ntu25", "arm")) == 13
    assert len(stream_joints("ntu25", "leg")) == 9
    assert [len(limb) for limb in limbs("leap20").values()] == [4, 4, 4, 4, 4, 0]
    for layout in ("openpose25", "cmu31", "shrec22"):
        joints = [joint for limb in limbs(layout).values() for joint in limb]
        assert sorted(joints) == list(range(len(joints)))


# Tokens


def test_ista_net_has_the_published_size():
    widths = (64, 64, 128, 128, 256, 256, 256, 256)
    wide = body("tokens", widths=widths, people=2, frames=120, layout="ntu25")
    assert size(wide, 26) == pytest.approx(6.22e6, rel=0.03)
    assert wide.size == (20, 2)
    small = body("tokens", widths=(8,), people=2, frames=15, pieces=4, layout="kinect20")
    x, seen = scene(2, 2, 15, 20)
    assert small(x, seen).vectors.shape == (2, 8)  # 15 frames are padded to 16


def test_token_attention_is_the_formula():
    torch.manual_seed(0)
    block = tokens.TokenBlock(4, 8, 5)
    block.alpha.data.normal_()
    block.prior.data.normal_()
    x = torch.randn(2, 4, 3, 2, 5)
    found = block.attention(x)
    pair = block.pair(x)
    for head, p, q in itertools.product(range(3), (0, 4), (1, 2)):
        query, key = pair[1, 2 * head : 2 * head + 2], pair[1, 6 + 2 * head : 8 + 2 * head]
        near = (query[..., p] * key[..., q]).sum() / (2 * 3 * 2)
        expected = block.alpha[head, 0, 0] * near.tanh() + block.prior[head, p, q]
        torch.testing.assert_close(found[1, head, p, q], expected)


def _pairs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The second person goes up or down, the first, who stands to the right, the other way."""
    x, seen = scene(n, 2, 8, 15, seed)
    y = torch.arange(n) % 2
    x = 0.3 * x
    x[:, 0, 0] += 0.3
    for person, way in enumerate((1 - 2 * y, 2 * y - 1)):
        x[:, person, 1] += torch.linspace(0, 1.5, 8)[:, None] * way[:, None, None]
    return x, seen, y


def test_swapped_people_get_the_same_answer(monkeypatch: pytest.MonkeyPatch):
    settings = {"widths": (8, 8), "people": 2, "pieces": 2, "layout": "sbu15", "frames": 8}
    x, seen, y = _pairs(24, 0)
    swapped = tokens.rearranged(x, torch.tensor([[1, 0]]).expand(24, 2))
    assert torch.equal(swapped[:, 0], x[:, 1])
    assert not torch.equal(swapped, x)
    joint = body("tokens", **settings)
    torch.testing.assert_close(joint(x, seen).vectors, joint(swapped, seen).vectors)
    # Tokens of one person: exact only after a training in random orders.
    settings["together"] = False
    answers: list[list[float]] = []
    for order in (tokens.drawn_order, lambda n, m: torch.arange(m).expand(n, m)):
        monkeypatch.setattr(tokens, "drawn_order", order)
        network = body("tokens", **settings)
        head = train(network, x, seen, y, steps=25)
        answers.append([right(network, head, rows, seen, y) for rows in (x, swapped)])
    assert min(answers[0]) > 0.9
    assert answers[1][0] > 0.9
    assert answers[1][1] < 0.8  # the control learned one order


def test_an_absent_person_and_an_unseen_joint_enter_no_token_and_no_mean():
    network = body("tokens", widths=(8, 8), people=2, pieces=3, frames=8, layout="sbu15")
    x, seen = scene(2, 2, 8, 15)
    seen[:, 1], seen[:, :, 2:5, 3] = 0, 0
    x = x * seen[:, :, None]
    there = network._tokens(seen[:, :, None])
    assert there.sum() == seen.sum()
    network.embed[1].bias.data.fill_(3.0)
    hidden = network.blocks[0].attention(torch.zeros_like(there).expand(-1, 8, -1, -1, -1))
    torch.testing.assert_close(hidden, network.blocks[0].prior.expand_as(hidden))
    nobody = network(x * 0, seen * 0).vectors
    assert (nobody == 0).all()


def test_orders_are_permutations_of_the_generator_of_the_training():
    torch.manual_seed(3)
    one = tokens.drawn_order(200, 3)
    torch.manual_seed(3)
    assert torch.equal(one, tokens.drawn_order(200, 3))
    assert (one.sort(dim=1).values == torch.arange(3)).all()
    assert len({tuple(row) for row in one.tolist()}) == 6
