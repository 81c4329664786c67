"""Partitions of joints and frames, and the limbs of a layout."""

from __future__ import annotations

import pytest
import torch

from tests.refusals import refused
from vlar.errors import UnknownNameError, UsageError
from vlar.methods.skeleton_towers.limbs import limbs, stream_joints
from vlar.methods.skeleton_towers.partitions import partition, restore

KINDS = (("near", "near"), ("far", "near"), ("near", "far"), ("far", "far"))


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


def test_limbs_are_those_of_the_paper():
    assert [len(limb) for limb in limbs("ntu25").values()] == [6, 6, 4, 4, 5]
    assert [len(limb) for limb in limbs("kinect20_utd").values()] == [4, 4, 4, 4, 4]
    assert len(stream_joints("ntu25", "arm")) == 13
    assert len(stream_joints("ntu25", "leg")) == 9
    assert [len(limb) for limb in limbs("leap20").values()] == [4, 4, 4, 4, 4, 0]
    for layout in ("openpose25", "cmu31", "shrec22"):
        joints = [joint for limb in limbs(layout).values() for joint in limb]
        assert sorted(joints) == list(range(len(joints)))
