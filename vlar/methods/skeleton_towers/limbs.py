"""Limbs of a layout: the joints of each arm, leg and finger, from the trunk outwards."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from vlar.media.skeleton.layouts import Layout, layout, levels, parents, parts

_LIMBS = {"arms": "arm", "hands": "arm", "legs": "leg", "feet": "leg"}
#: The joint that each bone of NTU's 25 joints hangs on in CTR-GCN and most papers after it; the
#: chest is the root, and hand tips hang on thumbs.
NTU_PARENTS: tuple[int, ...] = (
    *(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24),
    11,
)
_ORDER = ("right_arm", "left_arm", "right_leg", "left_leg")


@cache
def limbs(which: str | Layout) -> dict[str, tuple[int, ...]]:
    """The joints of each limb, nearest to the trunk first, and the ``trunk`` with the rest.

    Limbs of a body are those of ``_ORDER``, with shoulders and hips; those of a hand its fingers.
    """
    rows, of = layout(which), dict[int, str]()
    for part, joints in parts(rows).items():
        for joint in map(int, joints):
            side = re.match("left_|right_", rows.joints[joint])
            limb = "leg" if rows.joints[joint].endswith("_hip") else _LIMBS.get(part)
            of[joint] = side[0] + limb if side and limb else part
    kinds = _ORDER if rows.body == "body" else tuple(k for k in parts(rows) if k != "palm")
    order = np.argsort(levels(rows), kind="stable").tolist()
    joints_of_kind = {kind: tuple(j for j in order if of.get(j) == kind) for kind in kinds}
    return {**joints_of_kind, "trunk": tuple(j for j in order if of.get(j) not in kinds)}


def stream_joints(which: str | Layout, limb: str) -> tuple[int, ...]:
    """The joints of both limbs of a body, ``arm`` or ``leg``, after those that they hang on."""
    limb_joints = [j for side in ("right", "left") for j in limbs(which)[f"{side}_{limb}"]]
    up = {int(parents(which)[j]) for j in limb_joints} & set(limbs(which)["trunk"])
    return (*sorted(up), *limb_joints)
