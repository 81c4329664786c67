"""Whether a body was read well enough to say anything of its motion.

The networks put a whole body wherever there is part of one: cut by the side of the picture, the
unseen half is squeezed in; cut at the waist, legs are guessed below the picture; upside down, most
attributes lose their meaning. The landmarks look as sure as ever then, so the trust of the single
attributes does not tell. Centres and widths lie between ordinary clips and the same clips cut or
turned over; they and the share left to a body cut at the waist (whose arms can be measured) were
chosen on half of the clips.
"""

from __future__ import annotations

import numpy as np

from vlar.pose import signals
from vlar.pose.body import JOINTS, KNEES, SHOULDERS, BodyMotion

_AT_SIDE = 0.05  # body heights from the side of the picture
_TURNED = 0.5  # share of the torso's length by which the shoulders are below the hips
_OUT = 0.02  # of the frame height, above or below the picture
_CUT_AT_WAIST = 0.7  # how much is doubted of a body of which one half is above or below the picture


def at_side(body: BodyMotion) -> float:
    """Share of the frames in which the body touches the left or right side of the picture."""
    across = body.picture[body.known][:, JOINTS, 0]
    room = np.minimum(across.min(axis=1), body.aspect - across.max(axis=1))
    return float((room < _AT_SIDE * body.body_height).mean())


def on_head(body: BodyMotion) -> float:
    """Share of the frames in which the body is clearly upside down."""
    torso = (body.shoulders - body.hips)[body.known]
    return float((torso[:, 1] > _TURNED * np.linalg.norm(torso, axis=1)).mean())


def cut_at_waist(body: BodyMotion) -> float:
    """Share of the frames in which the knees, or the shoulders, are above or below the picture."""
    down = body.picture[body.known][..., 1]
    out = (down < -_OUT) | (down > 1 + _OUT)
    return float(max(out[:, KNEES].mean(), out[:, SHOULDERS].mean()))


def readable(body: BodyMotion) -> float:
    """How far to believe any attribute of a body: 0 (half of it, or on its head) to 1."""
    half = signals.step(at_side(body), 0.40, 0.20)
    turned = signals.step(on_head(body), 0.45, 0.15)
    waist = _CUT_AT_WAIST * signals.step(cut_at_waist(body), 0.50, 0.20)
    return float((1 - half) * (1 - turned) * (1 - waist))
