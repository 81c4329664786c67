"""``csvr``: three terms without labels, of later poses, of key frames and of the next frames.

Letters: N clips, T frames, K features of a frame, J numbers of a pose, D width of a clip's vector.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.errors import UsageError, VlarError
from vlar.heads.support import WINDOW
from vlar.media.video.container import opened
from vlar.registry import register
from vlar.training.data import ClipView
from vlar.training.domain_losses import reverse
from vlar.training.frame_inputs import joint_inputs
from vlar.training.objectives import Objective, Step, TrainingContext

_STEPS = 4  # spans of a half of a clip; their means are predicted
_STILL = "still"  # name of a view
_TIMEOUT_S = 10.0
_NOISE = 8  # numbers that a generator draws
_log = logging.getLogger("vlar")


def key_frames(frames: Tensor, count: int) -> Tensor:
    """Numbers of the frames that begin something new, in the order of time.

    They stand for the key frames of a video whose packets hold too few. The first frame is one of
    them, the others follow the largest steps.

    Args:
        frames: (N, T, K) features.
        count: From 1 to T.

    Returns:
        (N, count).
    """
    steps = (frames[:, 1:] - frames[:, :-1]).flatten(2).norm(dim=-1)
    largest = steps.topk(count - 1, dim=1).indices + 1
    return F.pad(largest, (1, 0)).sort(dim=1).values


def key_shares(path: Path) -> list[float]:
    """Shares (0 to 1) of a video at which frames begin that its file stores whole.

    Packets are read, and nothing is decoded. Empty for what is not a video file.
    """
    try:
        with opened(path, _TIMEOUT_S) as video:
            stamps = sorted((p.pts, p.is_keyframe) for p in video.packets() if p.pts is not None)
    except VlarError:
        return []
    if len(stamps) < 2:
        return [0.0] * len(stamps)
    first, span = stamps[0][0], stamps[-1][0] - stamps[0][0]
    length = span * len(stamps) / (len(stamps) - 1)  # the last frame is shown as long as others
    return [(stamp - first) / length for stamp, is_key in stamps if is_key]


def rows_at(shares: Sequence[float], n_rows: int, count: int) -> list[int]:
    """Numbers of ``count`` of the rows that lie at some shares; none where there are fewer."""
    rows = sorted({min(int(share * n_rows), n_rows - 1) for share in shares})
    places = np.linspace(0, len(rows) - 1, count if count <= len(rows) else 0)
    return [rows[round(stamp)] for stamp in places.tolist()]


def match_loss(clips: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """InfoNCE in both directions: clip n and key frames n are alike, all others of a batch not.

    Args:
        clips: (N, D), of unit length.
        keys: (N, D), of unit length.
        temperature: Above 0.
    """
    logits = clips @ keys.T / temperature
    numbers = torch.arange(len(clips), device=clips.device)
    return (F.cross_entropy(logits, numbers) + F.cross_entropy(logits.T, numbers)) / 2


def spans(frames: Tensor) -> Tensor:
    """(N, T, K) to the means of four spans of time, (N, 4 K)."""
    means = F.adaptive_avg_pool1d(frames.transpose(1, 2), _STEPS)
    return means.transpose(1, 2).flatten(1)


def pose_columns(method: Any) -> slice | None:
    """Columns of a method's inputs that hold poses; None where it reads none."""
    if (joints := joint_inputs(method)) is not None:
        people, count, channels = joints.shape
        return slice(0, people * count * channels)
    if getattr(method, "reads", "") != "features" or not hasattr(method, "chosen_blocks"):
        return None
    start = 0
    blocks = method.chosen_blocks(method.encoder, method.config)
    for (_, block), width in zip(blocks, method.input_widths, strict=False):
        if block.kind == "pose":
            return slice(start, start + width)
        start += width
    return None


def _stored(paths: Sequence[Path], facts: Sequence[Mapping[str, str]]) -> list[list[float]]:
    """``key_shares`` of each video; empty for a span of one, whose own share is not known."""
    pairs = zip(paths, facts or [{}] * len(paths), strict=True)
    return [[] if WINDOW in fact else key_shares(path) for path, fact in pairs]


def vectors_of(step: Step, inputs: Tensor) -> Tensor:
    """(N, D) vectors of other inputs; the method has some, as its own step gave them."""
    vectors = step.forward(inputs).vectors
    assert vectors is not None
    return vectors


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


@register("objective", "csvr", status="null here")
@dataclass
class Csvr(Objective):
    """A clip predicts its later poses and frames, and finds its key frames among other clips.

    A generator draws the poses of the second half of a clip from the vector of the first, and a
    critic separates them from true ones; its gradient is reversed, so one optimiser trains both.
    Key frames are matched with their clip by InfoNCE. A decoder rebuilds the features of the first
    half and predicts those of the second. A weight of 0 leaves a term out, and so does a method
    that reads no poses.

    Reference: CSVR, self-supervised video features of later poses, key frames and next frames; an
    abstract, no code.
    Example: ``vlar adapt support/ --unlabelled more/ --out mine --objective csvr``.

    Attributes:
        poses: Factor on the term of later poses.
        match: Factor on the term of key frames.
        frames: Factor on the terms of this and the next frames.
        keys: Key frames of a clip.
        temperature: Temperature of the contrast, above 0.
        hidden: Width of the generator, the critic and the decoder.
        ratio: Unlabelled clips in a batch for each labelled one; 0 uses none.
        alone: Share of the training, from its start, in which labels do not count, 0 to below 1.
        shuffled: Whether each clip is matched with the key frames of another one: the control.
    """

    poses: float = setting(1.0, at_least=0)
    match: float = setting(1.0, at_least=0)
    frames: float = setting(1.0, at_least=0)
    keys: int = setting(2, at_least=1, at_most=64)
    temperature: float = setting(0.1, above=0)
    hidden: int = setting(64, at_least=1, at_most=4096)
    ratio: float = setting(0.0, at_least=0)
    alone: float = setting(0.0, at_least=0, below=1)
    shuffled: bool = False
    name: ClassVar[str] = "csvr"
    columns: slice | None = field(default=None, init=False)
    stored: list[list[float]] = field(default_factory=list[list[float]], init=False)
    n_labelled: int = field(default=0, init=False)

    def views(self) -> Mapping[str, ClipView]:
        """The clip at its own times, at which its key frames lie."""
        return {_STILL: ClipView({"time_jitter": 0.0, "block_dropout": 0.0})} if self.match else {}

    def begin(self, context: TrainingContext) -> None:
        """Build the networks, and read the packets of the videos.

        Raises:
            UsageError: all three terms are left out.
        """
        if not self.poses + self.match + self.frames:
            raise UsageError(
                "objective 'csvr' has no term: poses, match and frames are all 0; set one of them"
            )
        if self.match:
            self.n_labelled, free = len(context.paths), context.unlabelled
            self.stored = _stored(context.paths, context.facts)
            self.stored += _stored(free.paths, free.facts) if free else []
        width, parts = context.vector_width, nn.ModuleDict()
        self.columns = pose_columns(context.method) if self.poses else None
        if self.poses and self.columns is None:
            _log.info("csvr: the method reads no poses, so their term is left out")
        if self.columns is not None:
            size = _STEPS * (self.columns.stop - self.columns.start)
            parts["generator"] = _perceptron(width + _NOISE, self.hidden, size)
            parts["critic"] = _perceptron(width + size, self.hidden, 1)
        if self.frames:
            parts["decoder"] = _perceptron(width, self.hidden, 2 * _STEPS * context.frame_width)
        self.module = parts if len(parts) else None

    def base_weight(self, progress: float) -> float:
        """0 while labels do not count, then 1."""
        return float(progress >= self.alone)

    def terms(self, step: Step) -> Mapping[str, Tensor]:
        """The weighted terms.

        Raises:
            UsageError: the clips have a single frame.
        """
        inputs, losses, own_vectors = step.batch.inputs, dict[str, Tensor](), step.vectors
        half = inputs.shape[1] // 2
        if not half:
            raise UsageError(
                "objective 'csvr' predicts later frames, and clips have 1 frame; sample more"
            )
        if self.match and len(inputs) > 1:
            losses["match"] = self.match * match_loss(
                own_vectors, self._keys(step), self.temperature
            )
        if self.module is None:
            return losses
        early = vectors_of(step, inputs[:, :half])
        if self.columns is not None:
            losses |= self._poses(early, inputs[:, half:, self.columns].detach())
        if self.frames:
            frames = step.frames.detach()
            now, later = (
                F.layer_norm(spans(part), (_STEPS * part.shape[-1],))
                for part in (frames[:, :half], frames[:, half:])
            )
            decoded = self.module["decoder"](early).chunk(2, dim=1)
            losses["rebuild"] = self.frames * F.mse_loss(decoded[0], now)
            losses["next"] = self.frames * F.mse_loss(decoded[1], later)
        return losses

    def _keys(self, step: Step) -> Tensor:
        """(N, D) vectors of the key frames; in the control those of another clip.

        They are those of the file's packets where it has enough, else those after large steps.
        """
        inputs, frames = step.batch.inputs, step.frames.detach()
        rows = key_frames(frames, min(self.keys, frames.shape[1]))
        picked = inputs[torch.arange(len(inputs), device=rows.device)[:, None], rows]
        numbers = [*step.batch.rows, *(self.n_labelled + n for n in step.batch.free_rows)]
        for index, number in enumerate(numbers if self.stored else ()):
            frame_rows = rows_at(self.stored[number], inputs.shape[1], rows.shape[1])
            if frame_rows:
                picked[index] = step.batch.views[_STILL][index, frame_rows]
        key_vectors = vectors_of(step, picked)
        return key_vectors.roll(1, dims=0) if self.shuffled else key_vectors

    def _poses(self, early: Tensor, later: Tensor) -> dict[str, Tensor]:
        """Terms of the generator and the critic, of vectors (N, D) and true poses (N, T, J)."""
        true = spans(later)
        noise = torch.randn(len(early), _NOISE, device=early.device)
        drawn = self.module["generator"](torch.cat([early, noise], dim=1))
        guide = early.detach()
        real = self.module["critic"](torch.cat([guide, true], dim=1))
        fake = self.module["critic"](torch.cat([guide, reverse(drawn, 1.0)], dim=1))
        critic = F.softplus(-real).mean() + F.softplus(fake).mean()
        return {
            "pose": self.poses * F.l1_loss(drawn, true),
            "critic": 0.1 * self.poses * critic,
        }
