"""Limbs of a layout: the joints of each arm, leg and finger, from the trunk outwards."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from vlar.media.skeleton.layouts import Layout, layout, levels, parents, parts

_LIMBS = {"arms": "arm", "hands": "arm", "legs": "leg", "feet": "leg"}


@cache
def limbs(which: str | Layout) -> dict[str, tuple[int, ...]]:
    """The joints of each limb, nearest to the trunk first, and the ``trunk`` with the rest.

    A body has ``right_arm``, ``left_arm``, ``right_leg`` and ``left_leg``; shoulders and hips
    belong to limbs. A hand has its fingers, and its palm is the trunk. Limbs without joints are
    left out.
    """
    rows = layout(which)
    part_of = {int(joint): part for part, some in parts(rows).items() for joint in some}
    names = [_limb(name, part_of.get(at, "trunk")) for at, name in enumerate(rows.joints)]
    order = np.argsort(levels(rows), kind="stable").tolist()
    kinds = ["right_arm", "left_arm", "right_leg", "left_leg", *dict.fromkeys(names)]
    kinds = [name for name in dict.fromkeys(kinds) if name in names and name != "trunk"]
    return {kind: tuple(j for j in order if names[j] == kind) for kind in [*kinds, "trunk"]}


def stream_joints(which: str | Layout, limb: str) -> tuple[int, ...]:
    """The joints of both arms or both legs, after the joints of the trunk that they hang on.

    Args:
        which: Layout of a body.
        limb: ``arm`` or ``leg``.
    """
    own = [j for side in ("right", "left") for j in limbs(which).get(f"{side}_{limb}", ())]
    up = {int(parents(which)[j]) for j in own} & set(limbs(which)["trunk"])
    return (*sorted(up), *own)


def _limb(joint: str, part: str) -> str:
    side = re.match("left_|right_", joint)
    limb = "leg" if joint.endswith("_hip") else _LIMBS.get(part)
    if side is None or limb is None:
        return "trunk" if part in ("palm", "head", "torso") else part
    return side[0] + limb
