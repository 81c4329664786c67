"""The frame features of an encoder, followed by those of the same frames with prompts in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vlar.adapters.plar.config import PlarConfig
from vlar.adapters.plar.prompts import drawn, flow_maps, people_maps
from vlar.adapters.temporal.inputs import placed
from vlar.encoders.base import Encoder, FrameBlock
from vlar.encoders.session import Session
from vlar.errors import ModelError
from vlar.pose.features import tracks_from_features
from vlar.types import Clip, Encoded, Float32, Role

_PICTURES = ("appearance", "logits")  # kinds of features that a brighter place can change
_VERSION = 1  # of what is drawn; increase it with every change


class PromptedFrames(Encoder):
    """An encoder that also encodes frames with prompts drawn into them.

    Features are those of the encoder, then for each prompt what of them it may change. Vectors and
    texts are the encoder's. Without prompts it is the encoder.

    Args:
        encoder: Encodes the frames, once more for each prompt.
        config: The prompts and their strength.

    Raises:
        ModelError: frames are not pictures, or a prompt needs bodies and the encoder has none.
    """

    def __init__(self, encoder: Encoder, config: PlarConfig) -> None:
        self.encoder, self.config = encoder, config
        blocks = placed(encoder.frame_blocks)
        self._copy(encoder)
        if not config.pictures:
            self.columns = np.arange(0)
            return
        if encoder.modality != "video":
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
        read = [(s, b) for s, b in blocks if b.kind in _PICTURES]
        #: Columns of the encoder's features that are encoded with prompts too.
        self.columns = np.concatenate(
            [np.arange(s, s + b.width) for s, b in read] or [np.arange(0)]
        )
        blocks = [
            FrameBlock(f"{block.name} with {name}", block.width, "prompted")
            for name in config.pictures
            for _, block in read
        ]
        self.frame_blocks = (*encoder.frame_blocks, *blocks)
        self.frame_dim = encoder.frame_dim + len(config.pictures) * len(self.columns)
        drawn_how = json.dumps([config.pictures, config.strength, _VERSION])
        text = f"{encoder.fingerprint} {drawn_how}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def _copy(self, encoder: Encoder) -> None:
        self.name, self.fingerprint = encoder.name, encoder.fingerprint
        self.modality, self.dim, self.frame_dim = encoder.modality, encoder.dim, encoder.frame_dim
        self.n_frames, self.frames_fixed = encoder.n_frames, encoder.frames_fixed
        self.fps, self.max_frames = encoder.fps, encoder.max_frames
        self.longest_s, self.logit_scale = encoder.longest_s, encoder.logit_scale
        self.max_tokens, self.preprocess = encoder.max_tokens, encoder.preprocess
        self.frame_blocks, self.blocks = encoder.frame_blocks, encoder.blocks
        self.templates, self.two_roles = encoder.templates, encoder.two_roles
        self.licence = encoder.licence

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Features (T, F) of the encoder with those of the prompted frames; its vectors."""
        return self._prompted(clips, self.encoder.encode(clips))

    def session(self, *, features: bool = True) -> Session:
        """The encoder's session; prompted frames are encoded window by window."""
        del features
        shared = self.encoder.session()
        session = Session(lambda clips: self._prompted(clips, shared.encode(clips)))
        session.batch_bytes = shared.batch_bytes
        return session

    def _prompted(self, clips: Sequence[Clip], rows: Sequence[Encoded]) -> list[Encoded]:
        if not self.config.pictures:
            return list(rows)
        found: list[Encoded] = []
        for clip, row in zip(clips, rows, strict=True):
            parts = [row.features]
            for name in self.config.pictures:
                maps = self._maps(name, clip, row.features)
                if not maps.any():
                    parts.append(row.features[:, self.columns])
                    continue
                shown = replace(clip, data=drawn(clip.data, maps, self.config.strength))
                parts.append(self.encoder.encode([shown])[0].features[:, self.columns])
            found.append(replace(row, features=np.concatenate(parts, axis=1)))
        return found

    def _maps(self, name: str, clip: Clip, features: Float32) -> Float32:
        if name == "flow":
            return flow_maps(clip.data, clip.times_s)
        return people_maps(clip.data, tracks_from_features(features[:, self._pose]))

    def pool(self, features: Float32) -> Float32:
        """The encoder's vectors (N, D) of features (N, T, F); prompts do not count."""
        return self.encoder.pool(features[..., : self.encoder.frame_dim])

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """As the encoder."""
        return self.encoder.encode_in_role(texts, role)

    def count_tokens(self, text: str) -> int:
        """As the encoder counts."""
        return self.encoder.count_tokens(text)
