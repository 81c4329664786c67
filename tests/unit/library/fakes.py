"""A cheap model and tiny videos: what a library needs to be tested without an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.videos import make_video
from vlar.encoders.captions import Captioner, Captions
from vlar.library.library import Library
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Float32, Sampling

DIM = 24


class FakeModel:
    """Vectors are a fixed random projection of a coarse picture; texts hash to vectors."""

    dim = DIM
    modality = "video"
    n_frames = 2
    shorter_side = 64

    def __init__(self, name: str = "fake", seed: int = 0) -> None:
        self.name = name
        self.fingerprint = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
        self.encoded = 0
        self._projection = np.random.default_rng(seed).normal(size=(DIM, DIM))

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        self.encoded += len(clips)
        rows = [self._vector(clip).astype(np.float32) for clip in clips]
        return [Encoded(row[None], row) for row in rows]

    def _vector(self, clip: Clip) -> np.ndarray:
        columns = clip.data.astype(np.float64).mean(axis=(1, 3))
        parts = np.array_split(columns, DIM // 2, axis=1)
        coarse = np.stack([part.mean(axis=1) for part in parts], axis=1).ravel() / 255 - 0.5
        vector = self._projection @ coarse[:DIM]
        return vector / np.linalg.norm(vector)

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def match_probability(self, vectors: Float32, query: Float32) -> Float32:
        return (1 / (1 + np.exp(-8 * (vectors @ query)))).astype(np.float32)


class ConditionedFake(FakeModel):
    """Its context is the window's vector; conditioned text is mirrored in it.

    So the conditioned similarity is the negative of the unconditioned one: the order of any two
    windows is reversed.
    """

    conditions_text = True

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        encoded = super().encode(clips)
        return [replace(one, context=np.stack([one.vector, one.vector / 3])) for one in encoded]

    def conditioned_queries(self, texts: Sequence[str], context: np.ndarray) -> Float32:
        assert context.dtype == np.float16
        axis = unit(context[:, 0].astype(np.float32))[:, None]
        queries = self.encode_queries(texts)[None]
        return queries - 2 * (queries * axis).sum(axis=2, keepdims=True) * axis


class FakeCaptioner(Captioner):
    """Says the number of a file, and in which second a window begins."""

    name = fingerprint = "fake"

    @classmethod
    def from_spec(cls, argument: str) -> FakeCaptioner:
        return cls()

    @property
    def sampling(self) -> Sampling:
        return Sampling(2)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        words = ("no", "one", "two", "three", "four", "five", "six")
        return [
            (f"video {words[int(clip.path.stem) % 7]}", f"from second {clip.window.start_s:g}.")
            for clip in clips
        ]


def tiny_video(path: Path, content: int, seconds: int = 8) -> Path:
    """A video of one picture a second, different for each ``content``."""
    draw = np.random.default_rng(content)
    pictures = draw.integers(0, 256, (seconds, 1, 12, 3)).repeat(4, axis=2).repeat(32, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_video(
        path,
        seconds,
        fps=1,
        size=(48, 32),
        codec="mpeg4",
        picture=lambda number: np.ascontiguousarray(pictures[number].astype(np.uint8)),
    )


def store_of(library: Library) -> Any:
    """The store of a library, for what its public face does not show."""
    return library._connection.nonempty()[0]


def stored(library: Library) -> list[tuple[str, float, float, bytes]]:
    """Path, span in seconds and vector of every row, in order."""
    rows = library.to_arrow().to_pylist()
    of = [(r["path"], r["start_s"], r["end_s"], np.float32(r["vector"]).tobytes()) for r in rows]
    return sorted(of)


def load_fake(device: str | None = None) -> FakeModel:
    """What worker processes load."""
    del device
    return FakeModel()


def load_conditioned(device: str | None = None) -> ConditionedFake:
    """The same with contexts."""
    del device
    return ConditionedFake()
