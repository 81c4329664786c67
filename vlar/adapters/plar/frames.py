"""The frame features of an encoder, followed by those of the same frames with prompts in them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from vlar.adapters.frame_inputs import placed
from vlar.adapters.plar.config import PlarConfig
from vlar.adapters.plar.prompts import drawn, flow_maps, people_maps
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import ModelError
from vlar.pose.features import tracks_from_features
from vlar.types import Clip, Float32

_PICTURES = ("appearance", "logits")  # kinds of features that a brighter place can change
_VERSION = 1  # of what is drawn; increase it with every change


class PromptedFrames(Beside):
    """An encoder that also encodes frames with prompts drawn into them.

    Features are those of the encoder, then for each prompt what of them it may change. Without
    prompts it is the encoder.

    Args:
        encoder: Encodes the frames, once more for each prompt.
        config: The prompts and their strength.

    Attributes:
        columns: Those of the encoder's features that are encoded with prompts too.

    Raises:
        ModelError: frames are not pictures, or a prompt needs bodies and the encoder has none.
    """

    def __init__(self, encoder: Encoder, config: PlarConfig) -> None:
        self.config = config
        blocks = placed(encoder.frame_blocks)
        if config.pictures and encoder.modality != "video":
            raise ModelError(
                f"prompts are drawn into pictures, and encoder {encoder.name!r} reads "
                f"{encoder.modality!r}; set prompts to [] or ['text']"
            )
        self._pose = next((slice(s, s + b.width) for s, b in blocks if b.kind == "pose"), None)
        if "people" in config.prompts and self._pose is None:
            raise ModelError(
                f"the prompt 'people' needs bodies, and encoder {encoder.name!r} finds none; use "
                "lite with lite-motion (vlar models get lite-motion), or leave it out"
            )
        read = [(s, b) for s, b in blocks if config.pictures and b.kind in _PICTURES]
        self.columns = np.concatenate(
            [np.arange(s, s + b.width) for s, b in read] or [np.arange(0)]
        )
        added = [
            FrameBlock(f"{block.name} with {name}", block.width, "prompted")
            for name in config.pictures
            for _, block in read
        ]
        super().__init__(encoder, added, json.dumps([config.pictures, config.strength, _VERSION]))

    def rows(self, clip: Clip, features: Float32) -> Float32:
        """Columns of the frames that each prompt is drawn into, (T, P K)."""
        parts: list[Float32] = []
        for name in self.config.pictures:
            maps = self._maps(name, clip, features)
            seen = features
            if maps.any():
                shown = replace(clip, data=drawn(clip.data, maps, self.config.strength))
                seen = self.encoder.encode([shown])[0].features
            parts.append(seen[:, self.columns])
        return np.concatenate(parts, axis=1)

    def _maps(self, name: str, clip: Clip, features: Float32) -> Float32:
        if name == "flow":
            return flow_maps(clip.data, clip.times_s)
        return people_maps(clip.data, tracks_from_features(features[:, self._pose]))
