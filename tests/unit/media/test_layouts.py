"""Layouts of skeletons: what follows from the names of their joints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.refusals import refused
from vlar.errors import UnknownNameError, UsageError
from vlar.media.skeleton import layouts

NAMES = layouts.names()
BODIES = [name for name in NAMES if layouts.layout(name).body == "body"]


def points(name: str, frames: int = 3, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(frames, 2, len(layouts.layout(name).joints), 3))


@pytest.mark.parametrize("name", NAMES)
def test_the_tree_reaches_every_joint_and_has_no_circle(name: str):
    bones, size = layouts.tree(name), len(layouts.layout(name).joints)
    assert len(bones) == size - 1
    assert (layouts.levels(name) >= 0).all()
    assert layouts.levels(name)[layouts.root(name)] == 0
    assert len(set(layouts.layout(name).joints)) == size


@pytest.mark.parametrize("name", NAMES)
def test_partition_columns_sum_to_one_or_nothing(name: str):
    stacked = layouts.partition(name)
    sums = stacked.sum(axis=1)
    assert np.isclose(sums, 0).astype(int).sum() + np.isclose(sums, 1).sum() == sums.size
    np.testing.assert_array_equal(stacked[0], np.eye(len(stacked[0])))
    assert (stacked[1][:, layouts.root(name)] == 0).all()  # nothing is nearer to the root


@pytest.mark.parametrize("name", NAMES)
def test_remap_to_itself_is_the_same_and_rows_sum_to_one(name: str):
    here = points(name)
    here[0, 0, 1] = np.nan
    np.testing.assert_array_equal(layouts.remap(here, name, name), here)
    for other in NAMES:
        if layouts.layout(other).body == layouts.layout(name).body:
            weights = layouts.joint_map(name, other).weights
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@given(name=st.sampled_from(NAMES), hops=st.integers(1, 4), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_k_hop_bones_are_differences_along_the_tree(name: str, hops: int, seed: int):
    here = points(name, seed=seed)
    size = here.shape[2]
    select = np.eye(size)[layouts.parents(name)]
    expected = (np.eye(size) - np.linalg.matrix_power(select, hops)) @ here
    found = layouts.bones(here, name, hops)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (found[..., layouts.root(name), :] == 0).all()


def test_sbu_hangs_hands_and_feet_on_elbows_and_knees():
    rows = layouts.layout("sbu15").joints
    up = {rows[a]: rows[b] for a, b in layouts.tree("sbu15")}
    assert up["left_hand"] == "left_elbow"
    assert up["right_foot"] == "right_knee"
    assert (up["left_hip"], up["neck"], up["head"]) == ("spine", "spine", "neck")
    mapped = layouts.joint_map("sbu15", "mediapipe33")
    wrist = layouts.index("mediapipe33", "left_wrist")
    assert mapped.covered[wrist]
    assert mapped.weights[wrist].argmax() == rows.index("left_hand")


def test_motion_ends_with_nothing():
    here = points("ntu25")
    steps = layouts.motion(here)
    np.testing.assert_allclose(steps[:-1], here[1:] - here[:-1])
    assert (steps[-1] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_swaps_sides_and_returns(name: str):
    swap = layouts.symmetry(name)
    np.testing.assert_array_equal(swap[swap], np.arange(len(swap)))
    joints = layouts.layout(name).joints
    assert all(
        joints[swap[at]] == joint.replace("left_", "right_")
        for at, joint in enumerate(joints)
        if joint.startswith("left_")
    )


@pytest.mark.parametrize("name", BODIES)
def test_each_joint_is_in_one_part_at_most_and_limbs_have_sides(name: str):
    parts = layouts.parts(name)
    every = np.concatenate([*parts.values()])
    assert len(set(every.tolist())) == len(every) == len(layouts.layout(name).joints)
    for part in ("arms", "legs"):
        swapped = layouts.symmetry(name)[parts[part]]
        assert set(swapped.tolist()) == set(parts[part].tolist())


def test_the_orders_of_kinect_1_differ_and_convert():
    sdk, utd, msr = (layouts.layout(n) for n in ("kinect20", "kinect20_utd", "kinect20_msr"))
    assert set(sdk.joints) == set(utd.joints) == set(msr.joints)
    assert (utd.joints[0], utd.joints[3], msr.joints[0], msr.joints[19]) == (
        "head", "pelvis", "left_shoulder", "head",
    )  # fmt: skip
    here = points("kinect20_utd")
    there = layouts.remap(here, "kinect20_utd", "kinect20_msr")
    np.testing.assert_array_equal(there[..., 12, :], here[..., 11, :])  # the right hand
    np.testing.assert_array_equal(layouts.remap(there, "kinect20_msr", "kinect20_utd"), here)


def test_a_joint_that_is_made_of_others_needs_most_of_them():
    here = points("coco17", frames=1)
    here[..., 5, :] = np.nan  # the left shoulder: half of the chest
    assert np.isnan(layouts.remap(here, "coco17", "ntu25")[..., 20, :]).all()
    here = points("coco17", frames=1)
    here[..., 3, :] = np.nan  # one ear of a head that turns away
    assert np.isfinite(layouts.remap(here, "coco17", "ntu25")[..., 3, :]).all()
    assert not layouts.joint_map("coco17", "ntu25").covered[15]  # coco has no feet


def test_what_is_refused():
    refused(UnknownNameError, "did you mean 'ntu25'", layouts.layout, "ntu52")
    with pytest.raises(UsageError, match=r"20 joints are kinect20 or .*remap"):
        layouts.bones(points("kinect20"), "ntu25")
    refused(UsageError, "hops is 0", layouts.bones, points("ntu25"), "ntu25", 0)
    with pytest.raises(UsageError, match="a body and 'leap20' a hand"):
        layouts.remap(points("ntu25"), "ntu25", "leap20")
    refused(UsageError, "has no joint 'tail'", layouts.levels, "ntu25", "tail")
