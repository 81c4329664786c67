"""An encoder whose frame features are given, and clips in which only the order tells the label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.numeric import unit
from vlar.training.batches import Dataset
from vlar.types import Clip, Encoded

LABELS = ("forward", "backward")
T = 8


class FakeEncoder(Encoder):
    """Twelve features a frame in two blocks; the vector is their mean."""

    name = "fake"
    dim, frame_dim, n_frames = 12, 12, T
    logit_scale, max_tokens = 10.0, 77
    preprocess = Preprocess(8, 8, (0.5,) * 3, (0.5,) * 3)
    frame_blocks = (FrameBlock("look", 8, "appearance"), FrameBlock("flow", 4, "motion"))
    blocks = (Block("joint", 12, 1.0, True),)
    fingerprint = "fake-1"

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Eight mean colours of a frame, and four zeros."""
        rows: list[Encoded] = []
        for clip in clips:
            flat = clip.data.reshape(len(clip.data), 8, -1).mean(axis=2).astype(np.float32)
            features = np.concatenate([flat / 128 - 1, np.zeros_like(flat[:, :4])], axis=1)
            rows.append(Encoded(features, self.pool(features[None])[0]))
        return rows

    def pool(self, features: Any) -> Any:
        """Mean over the frames, scaled to length 1."""
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Any:
        """A vector that depends on the letters alone."""
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.dim) for seed in seeds]
        return unit(np.array(rows, np.float32).reshape(-1, self.dim))

    def count_tokens(self, text: str) -> int:
        """Words and two."""
        return len(text.split()) + 2


def ordered_clips(n: int, seed: int = 0) -> tuple[Any, Dataset]:
    """(n, T, 12) features: half play a path forward, half backward; their means are alike."""
    random = np.random.default_rng(seed)
    way = random.normal(size=12)
    rows: list[Any] = []
    for i in range(n):
        start = random.normal(size=12)
        path = start + np.linspace(-1, 1, T)[:, None] * way + 0.1 * random.normal(size=(T, 12))
        rows.append(path if i % 2 == 0 else path[::-1])
    y = [LABELS[i % 2] for i in range(n)]
    groups, paths = [f"g{i // 2}" for i in range(n)], [Path(f"{i}.mp4") for i in range(n)]
    return np.array(rows, np.float32), Dataset.single(LABELS, y, groups, paths)
