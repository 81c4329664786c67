"""``motion``: movements of bodies, as an encoder of its own that others are joined with.

Its vectors are those of the motion block of ``lite`` (``vlar.encoders.lite.body``): ``[attributes ;
unseen body]``. Texts come through the verb table. Alone it separates movements and nothing else;
``clip+motion`` gives a model of pictures what it lacks (``vlar.encoders.fused``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.base import Encoder, Preprocess, require_plain
from vlar.encoders.lite import body as lite_body
from vlar.encoders.lite import towers
from vlar.encoders.sentence_tower import text_tower
from vlar.encoders.session import Session
from vlar.errors import ModelError
from vlar.language.motion.verb_table import TextMotion
from vlar.numeric import unit
from vlar.pose import networks
from vlar.pose.onnx import on_device
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Role

_SIZE = 224  # pixels; what the detector of people reads


class _MotionArgument:
    """The argument of the contract tests; None where the networks are not installed."""

    def __get__(self, instance: object, owner: Any = None) -> str | None:
        return "" if networks.is_installed() else None


@register("encoder", "motion")
class MotionEncoder(Encoder):
    """Compares the movements of bodies with those that a text describes (needs ``lite-motion``).

    Frame features are the bodies (``vlar.pose.features``). A clip without a visible body has the
    vector ``[0 ; 1]``. So has a text that describes no movement, which is of unit length then.

    Args:
        body: The motion block; None loads it.
    """

    name = "motion"
    cpu_only = english = True
    contract_argument = _MotionArgument()  # pyright: ignore[reportAssignmentType]
    n_frames = 32
    longest_s = lite_body.LONGEST_S
    # Half of that of ``lite`` with bodies: both blocks weigh alike (evals/results/motion.json).
    logit_scale = lite_body.LOGIT_SCALE / 2
    max_tokens = towers.MAX_TOKENS
    templates = "plain"
    preprocess = Preprocess(_SIZE, _SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="crop")
    frame_blocks = (lite_body.POSE_BLOCK,)
    frame_dim = lite_body.POSE_BLOCK.width

    def __init__(self, body: lite_body.BodyBlock | None = None) -> None:
        self._text = text_tower()
        self.licence = networks.lite_motion().licence
        if body is None:
            text_hash = towers.MINILM.sha256 + towers.TOKENIZER.sha256
            body = lite_body.BodyBlock(self._text, text_hash, towers.CACHE_FOLDER)
        self.body = body
        blocks = body.blocks(0)[1:]
        longest = max(block.weight for block in blocks)
        self.blocks = tuple(replace(block, weight=block.weight / longest) for block in blocks)
        self.dim = sum(block.width for block in blocks)
        self.fingerprint = lite_body.digest(["motion", body.fingerprint, self.n_frames])

    @classmethod
    def from_spec(
        cls, argument: str = "", *, device: str | None = None, dtype: str | None = None
    ) -> MotionEncoder:
        """The encoder ``motion``.

        Args:
            argument: Must be empty.
            device: As for ``lite``.
            dtype: None or ``float32``.

        Raises:
            UsageError: an argument or another type is given, or the runtime lacks the device.
            ModelError: the networks of ``lite-motion`` are not installed.
        """
        require_plain(cls.name, argument, None, dtype)
        with on_device(device):
            if not networks.is_installed():
                raise ModelError(
                    "the encoder 'motion' needs the networks of lite-motion, which are not "
                    f"installed; run: vlar models get {networks.NAME}"
                )
            encoder = cls()
        encoder.runs_on = "" if device in (None, "cpu") else device
        return encoder

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        return [row for clip in clips for row in MotionSession(self).encode([clip])]

    def session(self, *, features: bool = True) -> MotionSession:
        """People are tracked on from one window into the next that overlaps it."""
        return MotionSession(self)

    def pool(self, features: Float32) -> Float32:
        return unit(self.body.rows(features))

    def block_fingerprints(self) -> dict[str, str]:
        return self.body.block_fingerprints(self.n_frames)

    def inputs(self, names: Collection[str]) -> frozenset[str]:
        return frozenset({"bodies"})

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        rows = self.body.text(np.zeros((len(texts), 0), np.float32), texts)
        rows[~rows.any(axis=1), -1] = 1.0
        return rows

    def explain(self, text: str) -> TextMotion:
        """The motion that a text describes, and its phrases."""
        return self.body.explain(text)

    def count_tokens(self, text: str) -> int:
        return self._text.count_tokens(text)


class MotionSession(Session):
    """Follows the people of one recording from one window to the next."""

    batch_bytes = 1

    def __init__(self, encoder: MotionEncoder) -> None:
        super().__init__(self.encode, None)
        self._encoder = encoder
        self._bodies: lite_body.BodyStream | None = None
        self._path: Path | None = None

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows: list[Encoded] = []
        for clip in clips:
            if self._bodies is None or clip.path != self._path:
                self._bodies, self._path = self._encoder.body.stream(), clip.path
            features = self._bodies.of_clip(clip)
            rows.append(Encoded(features, self._encoder.pool(features[None])[0]))
        return rows
