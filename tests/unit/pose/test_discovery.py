"""Attributes are discovered, and their columns stay where saved vectors expect them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vlar.pose.attributes.base import attribute_names, attributes, in_columns
from vlar.pose.skeletons import SKELETONS, Skeleton

# The first 78 columns of the motion block. Libraries and models hold vectors in this order.
COLUMNS_TEXT = """
travel fast approach turn forward leg_swing leg_alt leg_open step_freq airborne hop kick
leg_energy knee_bent knee_end knee_osc one_leg_stand kneeling hip_down hip_dip pitch_max
pitch_change pitch_end lying upside bounce bounce_freq low_body hip_sway torso_twist face_up
head_nod head_shake one_arm_up both_arms_up arm_energy both_arms arm_only wrist_rep wrist_osc_freq
wrist_horiz swipe_left wrist_peak arm_straight arms_sym arms_wide hands_rise hands_front hands_mid
arm_circle wrists_apart hands_joined hands_meet clap_rate hand_head reach_low energy periodic
pose_freq burst two_people closing contact near hand_to_hand hand_to_head head_to_head
hand_to_trunk foot_to_body strike arms_around merged face_to_face both_act same_way both_go
meet_and_part driven_back
"""
COLUMNS = COLUMNS_TEXT.split()
# Of name, unit, centre, width and mean of these columns, as JSON.
SCALES = "7770d3f586a0be87a0f076b9b85a4741d93d500a24a5b111db9f2d4f17ffff2d"


def test_the_columns_and_scales_are_those_of_saved_vectors():
    rows = [(r.name, r.unit, r.centre, r.width, r.mean) for r in attributes()[: len(COLUMNS)]]
    assert [name for name, *_ in rows] == COLUMNS
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == SCALES


def test_every_attribute_is_complete():
    for row in attributes():
        assert row.unit
        assert row.width > 0
        assert -1 <= row.mean <= 1
        assert "+" in row.meaning, row.name


def test_columns_must_be_complete_and_unique():
    first, second, third = attributes()[:3]
    assert in_columns([third, first, second]) == (first, second, third)
    with pytest.raises(ValueError, match="column 2"):
        in_columns([first, third])
    with pytest.raises(ValueError, match="column 1"):
        in_columns([first, second, dataclasses.replace(third, column=1)])


_NEW = '''
"""An attribute of the elbows."""
from vlar.pose.attributes.base import Measured, attribute
from vlar.pose.body import ELBOWS, BodyMotion

@attribute("elbows_apart", "BH", centre=0.4, width=0.1, mean=0.2, column={column})
def elbows_apart(body: BodyMotion) -> Measured:
    """Distance of the elbows: + wide, - close."""
    left, right = ELBOWS
    return float(abs(body.places[:, left, 0] - body.places[:, right, 0]).mean()), 1.0
'''
_SCRIPT = """
import sys
import vlar.pose.attributes as package
import vlar.pose.attributes.interaction  # the order of imports does not matter
package.__path__.append(sys.argv[1])
from vlar.pose.attributes.base import attribute_names
from vlar.language.motion.verb_table import VerbTable
print(" ".join(attribute_names()))
print(VerbTable("elbow: elbows_apart+").lookup("elbow").weights[-1])
"""


def test_a_new_attribute_is_one_file(tmp_path: Path):
    (tmp_path / "elbows.py").write_text(_NEW.format(column=len(attribute_names())))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    names, weight = done.stdout.splitlines()
    assert names.split() == [*attribute_names(), "elbows_apart"]
    assert weight == "1.0"


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_skeleton_is_consistent(skeleton: Skeleton):
    assert len(set(skeleton.joints)) == len(skeleton.joints)
    for a, b in skeleton.bone_indices:
        assert 0 <= a < len(skeleton.joints)
        assert a != b
        assert 0 <= b < len(skeleton.joints)
    for joint in skeleton.joints:
        if joint.startswith("left_"):
            left, right = skeleton.both(joint.removeprefix("left_"))
            assert skeleton.joints[right] == joint.replace("left_", "right_")
            assert left != right
    with pytest.raises(ValueError, match="no joint 'left_tail'"):
        skeleton.both("tail")


def test_a_layout_is_one_row():
    tiny = Skeleton("three", ("nose", "left_hip", "right_hip"), (("nose", "left_hip"),))
    assert tiny.both("hip") == (1, 2)
    assert tiny.bone_indices == ((0, 1),)
