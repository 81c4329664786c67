"""The encoder ``skeleton``: joints of any layout, in space or in a picture."""

from __future__ import annotations

import numpy as np

from vlar.encoders.attribute_words import AttributeWords
from vlar.encoders.base import FrameBlock
from vlar.encoders.lite import body as lite_body
from vlar.encoders.skeleton.bodies import people_of
from vlar.encoders.skeleton.path import PATH_WIDTH, path_rows
from vlar.encoders.skeleton.pose_rows import pose_rows
from vlar.pose.features import motion_vector
from vlar.registry import register
from vlar.types import Clip, Float32


@register("encoder", "skeleton")
class SkeletonEncoder(AttributeWords):
    """What the bodies of a skeleton file do, in the attributes of ``lite``'s motion block.

    Joints of every layout become 33 points (``vlar.sensors.layouts.remap``). Bodies in metres are
    seen from the front, bodies of a picture as they are, and the attributes are measured as on the
    bodies of a video. Features are the path of the joints and these bodies, 64 rows a clip. A hand
    has a path and no attributes: it needs examples.
    """

    name = "skeleton"
    modality = "skeleton"
    n_frames = fixed_rows = 64
    longest_s = lite_body.LONGEST_S
    frame_blocks = (FrameBlock("path", PATH_WIDTH, "signal"), lite_body.POSE_BLOCK)

    def features_of(self, clip: Clip) -> Float32:
        """(64, F) the path and the bodies of a clip."""
        people = people_of(clip, self.feature_rows)
        rows = self.feature_rows
        return np.concatenate([path_rows(people, rows), pose_rows(people, rows)], axis=1)

    def motion(self, features: Float32) -> Float32:
        """(64, F) features to the attributes (A,)."""
        return motion_vector(features[:, PATH_WIDTH:])
