"""The motion half of the vectors of ``lite``, with the networks of ``lite-motion``.

A clip is ``[objects ; motion ; unseen body]`` and a text ``[objects ; motion ; 0]``. Each block is
a unit vector times its weight. The norm of a clip's motion block is the visible share of a body,
and the last block takes the rest: a vector keeps unit length, and one inner product is the score.
In ``lite-hands`` a block of hands follows, which takes what an unseen body leaves
(``vlar.encoders.lite.hands``).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlar.encoders.base import Block, FrameBlock
from vlar.files import resources
from vlar.files.resources import cached
from vlar.language.motion.verb_table import EmbedTexts, TextMotion, VerbTable
from vlar.numeric import unit
from vlar.pose import networks as network_files
from vlar.pose.attributes.base import attributes
from vlar.pose.features import (
    DEFAULT_FPS,
    KEPT_BODIES,
    POSE_WIDTH,
    VERSION,
    PoseExtractor,
    PoseStream,
    motion_vector,
)
from vlar.types import Clip, Float32, Float64, UInt8

if TYPE_CHECKING:
    from vlar.encoders.lite.hands import HandBlock

_log = logging.getLogger("vlar")

LOGIT_SCALE = 20.0  # fitted on half of the clips, all labels in one list
# Longer than the real clips for which one view was better than several
# (evals/results/long_videos.json).
LONGEST_S = 20.0
POSE_BLOCK = FrameBlock("pose", POSE_WIDTH, "pose")
# Equal weights: chosen on half of the clips, between 0.6 and 0.8; see evals/results/motion.json.
OBJECTS_WEIGHT = float(np.sqrt(0.5))
MOTION_WEIGHT = float(np.sqrt(0.5))
# By the peak of a question over the objects, the movement told, and a constant: log factor on the
# motion block, and the block of an unseen body. Fitted on half of the clips (evals/believe.py).
_MOVEMENT = np.array([-0.588, 0.822, -0.309])
_UNSEEN = np.array([0.0374, -0.038, 0.0475])
_MEAN_PEAK = 0.3
_MOST_TOLD = 10.0  # sum of the weights of the attributes


class BodyBlock:
    """The motion block of clips and texts.

    Args:
        embed: The text tower, for texts without a known verb.
        text_hash: Hash of the text tower's weights.
        cache_folder: Cache folder of the vectors of the table's phrases.
        hands: The hands block; None for bodies alone.
    """

    def __init__(
        self, embed: EmbedTexts, text_hash: str, cache_folder: str, hands: HandBlock | None = None
    ) -> None:
        self.hands = hands
        self._reader = PoseExtractor()
        self._embed = embed
        self.table = VerbTable.packaged(embed)
        key = hashlib.sha256((self.table.digest + text_hash).encode()).hexdigest()[:16]
        phrases = self.table.first_phrases  # a reference to the table would be a cycle

        def make() -> bytes:
            return embed(phrases).astype(np.float32).tobytes()

        self.table.load_phrase_vectors(
            lambda: cached(cache_folder, f"verbs-{key}.bin", make, "the verbs of 'lite'")
        )
        self.width = len(attributes())

    def blocks(self, objects: int) -> tuple[Block, ...]:
        """The blocks of the whole vector."""
        blocks = (
            Block("objects", objects, OBJECTS_WEIGHT, True),
            Block("motion", self.width, MOTION_WEIGHT, True),
            Block("unseen_body", 1, MOTION_WEIGHT, False),
        )
        if self.hands is None:
            return blocks
        return (*blocks, Block("hands", self.hands.width, MOTION_WEIGHT, True))

    @property
    def frame_blocks(self) -> tuple[FrameBlock, ...]:
        """The parts of the frame features, in order."""
        return (POSE_BLOCK,) if self.hands is None else (POSE_BLOCK, self.hands.frame_block)

    @property
    def frame_width(self) -> int:
        """F, the numbers of a frame's features."""
        return sum(block.width for block in self.frame_blocks)

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax; hands make all texts' other blocks shorter."""
        more = 0.0 if self.hands is None else self.hands.text_weight
        return LOGIT_SCALE * float(np.sqrt(1 + more**2))

    def features(self, frames: UInt8, times_s: Float64) -> Float32:
        """(T, H, W, 3) to the frame features (T, F)."""
        return self.stream().features(frames, times_s)

    def stream(self) -> BodyStream:
        """Frame features of the windows of one recording, in the order of time."""
        return BodyStream(self._reader.stream(), self.hands)

    def video(self, objects: Float32, features: Float32) -> Float32:
        """Object vectors (N, O) and frame features (N, T, F) to unit vectors (N, D)."""
        return unit(np.concatenate([OBJECTS_WEIGHT * objects, self.rows(features)], axis=1))

    def rows(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to all blocks but the objects."""
        rows = np.zeros((len(features), self.width + 1), np.float32)
        for row, clip in zip(rows, features, strict=True):
            motion = motion_vector(clip[:, :POSE_WIDTH])
            row[:-1] = MOTION_WEIGHT * motion
            row[-1] = MOTION_WEIGHT * np.sqrt(max(0.0, 1 - float(motion @ motion)))
        if self.hands is None:
            return rows
        hand_rows = self.hands.rows(features[..., POSE_WIDTH:])
        hands = rows[:, -1:] * hand_rows
        rows[:, -1] *= np.sqrt(np.maximum(0, 1 - np.square(hand_rows).sum(axis=1)))
        return np.concatenate([rows, hands], axis=1)

    def text(self, objects: Float32, texts: Sequence[str]) -> Float32:
        """Object vectors (C, O) of C texts to unit vectors (C, D)."""
        rows = self._without_hands(objects, texts)
        if self.hands is None:
            return rows
        return unit(np.concatenate([rows, self.hands.text_weight * self.hands.text(texts)], axis=1))

    def bound(self, rows: Float32, objects: Float32, texts: Sequence[str]) -> Float32:
        """Vectors of texts as questions: the words decide how much each block may answer.

        A text that names a thing is peaked over the objects, and movement alone should not answer
        it. A text of movement has many attributes. The block of an unseen body, which labels leave
        empty, is what a clip gains for not showing a body to a text of things.

        Args:
            rows: (C, D) as ``text`` gives them.
            objects: (C, O) object vectors of the texts.
            texts: The C texts.
        """
        told = np.array([np.abs(self.table.lookup(text).weights).sum() for text in texts])
        peak = objects.max(axis=1) - _MEAN_PEAK
        told = told / _MOST_TOLD - 0.5
        inputs = np.stack([peak, told, np.ones(len(peak))], axis=1)
        bound, first = rows.copy(), objects.shape[1]
        bound[:, first : first + self.width] *= np.exp(inputs @ _MOVEMENT)[:, None]
        bound[:, first + self.width] = inputs @ _UNSEEN
        return unit(bound)

    def _without_hands(self, objects: Float32, texts: Sequence[str]) -> Float32:
        rows = np.zeros((len(objects), objects.shape[1] + self.width + 1), np.float32)
        rows[:, : objects.shape[1]] = OBJECTS_WEIGHT * objects
        weights = {text: self.table.lookup(text).weights for text in dict.fromkeys(texts)}
        for row, text in zip(rows, texts, strict=True):
            row[objects.shape[1] : -1] = MOTION_WEIGHT * unit(weights[text][None])[0]
        return unit(rows)

    def explain(self, text: str) -> TextMotion:
        """The motion that a text describes, and the phrases that it was matched to."""
        return self.table.lookup(text)

    @property
    def clip_fingerprint(self) -> str:
        """Hash of everything that changes the motion block of a clip, except its weight.

        That of the hands block is its own.
        """
        scales = [(row.name, row.centre, row.width) for row in attributes()]
        means = {row.name: row.mean for row in attributes()}
        networks = network_files.digest()
        return digest(
            {"version": VERSION, "networks": networks, "scales": scales, "typical": means}
        )

    def block_fingerprints(self, n_frames: int) -> dict[str, str]:
        """Hash of everything that changes each block of a clip of ``n_frames`` frames."""
        made_by = digest([self.clip_fingerprint, n_frames])
        prints = {block.name: made_by for block in self.blocks(0)[1:]}
        if self.hands is not None:
            hands = digest([made_by, self.hands.clip_fingerprint])
            prints |= {"unseen_body": hands, "hands": hands}
        return prints

    def inputs(self, names: Collection[str]) -> set[str]:
        """Inputs that blocks of bodies and hands are computed from."""
        has_hands = self.hands is not None and {"hands", "unseen_body"}.intersection(names)
        return {"bodies", "hands"} if has_hands else {"bodies"}

    @property
    def fingerprint(self) -> str:
        """Hash of everything that changes the motion block of a clip or a text."""
        weights = (OBJECTS_WEIGHT, MOTION_WEIGHT)
        settings: list[object] = [self.clip_fingerprint, self.table.digest, weights]
        return digest(settings if self.hands is None else [*settings, self.hands.fingerprint])


class BodyStream:
    """Bodies, and hands where there are networks for them, of one recording's windows."""

    def __init__(self, bodies: PoseStream, hands: HandBlock | None) -> None:
        self._bodies, self._hands = bodies, hands

    def of_clip(self, clip: Clip) -> Float32:
        """The frame features of a clip; of bodies that a library kept, where it has no frames."""
        bodies: Float32 | None = clip.meta.get(KEPT_BODIES)
        if bodies is None:
            return self.features(clip.data, clip.times_s)
        rows = bodies[np.arange(len(clip.data)) * len(bodies) // max(len(clip.data), 1)]
        width = 0 if self._hands is None else self._hands.frame_block.width
        return np.pad(rows, ((0, 0), (0, width)))

    def features(self, frames: UInt8, times_s: Float64 | None = None) -> Float32:
        """The frame features (T, F) of the next window; as ``PoseStream.features``."""
        bodies = self._bodies.features(frames, times_s)
        if self._hands is None:
            return bodies
        times_s = np.arange(len(frames)) / DEFAULT_FPS if times_s is None else times_s
        return np.concatenate([bodies, self._hands.features(frames, times_s, bodies)], axis=1)


def digest(settings: object) -> str:
    """Hash of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def load_body(
    embed: EmbedTexts, text_hash: str, cache_folder: str, hands: HandBlock | None = None
) -> BodyBlock | None:
    """The motion block; None without its networks, which one log line ever announces."""
    if network_files.is_installed():
        return BodyBlock(embed, text_hash, cache_folder, hands)
    if _first_time():
        _log.info(
            "'lite' uses objects and scenes only; to recognise bodies too (walking, waving), "
            "run once: vlar models get %s",
            network_files.NAME,
        )
    return None


def _first_time() -> bool:
    # The offer is logged once, not at every start; without a writable cache it is not logged.
    offered = resources.cache_dir() / "lite-motion-offered"
    try:
        offered.parent.mkdir(parents=True, exist_ok=True)
        offered.touch(exist_ok=False)
    except OSError:
        return False
    return True
