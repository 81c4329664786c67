"""Whether a body was tracked well enough for its attributes to mean anything.

The networks place a whole body wherever they find a part of one. At the side of the picture they
squeeze the unseen half in; below the waist they guess the legs under the picture; upside down most
attributes lose their meaning. The landmark scores stay high in all three cases, so the trust of the
single attributes does not reveal it. Centres and widths lie between ordinary clips and the same
clips cut or turned over. They, and the share that a body cut at the waist keeps (its arms can be
measured), were chosen on half of the clips.
"""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.body import JOINTS, KNEES, SHOULDERS, BodyMotion

_AT_SIDE = 0.05  # body heights from the side of the picture
_TURNED = 0.5  # share of the torso's length by which the shoulders are below the hips
_OUT = 0.02  # frame heights above or below the picture
_CUT_AT_WAIST = 0.7  # reliability lost by a body with one half above or below the picture


def truncated_at_side(body: BodyMotion) -> float:
    """Share of the frames in which the body touches the left or right side of the picture."""
    across = body.picture[body.known][:, JOINTS, 0]
    room = np.minimum(across.min(axis=1), body.aspect - across.max(axis=1))
    return float((room < _AT_SIDE * body.body_height).mean())


def upside_down(body: BodyMotion) -> float:
    """Share of the frames in which the body is clearly upside down."""
    torso = (body.shoulders - body.hips)[body.known]
    return float((torso[:, 1] > _TURNED * np.linalg.norm(torso, axis=1)).mean())


def cut_at_waist(body: BodyMotion) -> float:
    """Share of the frames in which the knees, or the shoulders, are above or below the picture."""
    down = body.picture[body.known][..., 1]
    out = (down < -_OUT) | (down > 1 + _OUT)
    return float(max(out[:, KNEES].mean(), out[:, SHOULDERS].mean()))


def reliability(body: BodyMotion) -> float:
    """Factor on the trust of all attributes: 0 (half a body, or upside down) to 1."""
    half = signals.step(truncated_at_side(body), 0.40, 0.20)
    turned = signals.step(upside_down(body), 0.45, 0.15)
    waist = _CUT_AT_WAIST * signals.step(cut_at_waist(body), 0.50, 0.20)
    return float((1 - half) * (1 - turned) * (1 - waist))
