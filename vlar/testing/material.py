"""Material of the checks: small encoders, clips, videos and models, all generated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.adapters.base import Adapter
from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.encoders.captions import Captioner, Captions
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.library.rows import Float16, Int64, RowTable
from vlar.model.library_model import LibraryModel
from vlar.numeric import unit
from vlar.types import Clip, Encoded, Float32, Role, Sampling, UInt8

if TYPE_CHECKING:
    from vlar.training.batches import Dataset

ORDERED_LABELS = ("forward", "backward")
N_FRAMES = 8
WIDTH = 24  # of the vectors of a library


def connection_of(library: Any) -> Any:
    """The connection of a library, with its store and its engine."""
    return library._connection


class SmallEncoder(Encoder):
    """Twelve features a frame in two blocks; the vector is their mean."""

    name = "fake"
    dim, frame_dim, n_frames = 12, 12, N_FRAMES
    logit_scale, max_tokens = 10.0, 77
    preprocess = Preprocess(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
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

    def pool(self, features: Float32) -> Float32:
        """Mean over the frames, scaled to length 1."""
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        """A vector that depends on the letters alone."""
        rows = [_random(text).normal(size=self.dim) for text in texts]
        return unit(np.array(rows, np.float32).reshape(-1, self.dim))

    def count_tokens(self, text: str) -> int:
        """Words and two."""
        return len(text.split()) + 2


def ordered_clips(n: int, seed: int = 0) -> tuple[Float32, Dataset]:
    """(n, T, 12) features: half play a path forward, half backward; their means are alike."""
    from vlar.training.batches import Dataset

    random = np.random.default_rng(seed)
    way = random.normal(size=12)
    rows: list[Any] = []
    for i in range(n):
        start = random.normal(size=12)
        noise = 0.1 * random.normal(size=(N_FRAMES, 12))
        path = start + np.linspace(-1, 1, N_FRAMES)[:, None] * way + noise
        rows.append(path if i % 2 == 0 else path[::-1])
    y = [ORDERED_LABELS[i % 2] for i in range(n)]
    groups, paths = [f"g{i // 2}" for i in range(n)], [Path(f"{i}.mp4") for i in range(n)]
    return np.array(rows, np.float32), Dataset.single(ORDERED_LABELS, y, groups, paths)


def save_tiny_clip(folder: Path) -> str:
    """Save a CLIP with random weights; the spec that loads it. It needs the extra ``clip``."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    vision = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 3}
    text = {"context_length": 16, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 3}
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": vision,
        "text_cfg": text,
        "quick_gelu": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = CLIP(**config).eval()
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    content = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(content, "utf-8")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"openclip:{folder}"


def write_video(path: Path, pictures: UInt8, fps: int) -> Path:
    """Write (T, H, W, 3) pictures as a video."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tiny_video(path: Path, content: int, seconds: int = 8) -> Path:
    """A video of one picture a second, different for each ``content``."""
    draw = np.random.default_rng(content)
    pictures = draw.integers(0, 256, (seconds, 1, 12, 3)).repeat(4, axis=2).repeat(32, axis=1)
    return write_video(path, pictures.astype(np.uint8), 1)


class PictureModel(LibraryModel):
    """A model of a library: vectors are a fixed random projection of a coarse picture."""

    dim = WIDTH
    modality = "video"
    n_frames = 2
    shorter_side = 64

    def __init__(self, name: str = "fake", seed: int = 0) -> None:
        self.name = name
        self.fingerprint = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
        self.encoded = 0
        self._projection = np.random.default_rng(seed).normal(size=(WIDTH, WIDTH))

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """One row a clip; ``encoded`` counts them."""
        self.encoded += len(clips)
        rows = [self._vector(clip).astype(np.float32) for clip in clips]
        return [Encoded(row[None], row) for row in rows]

    def _vector(self, clip: Clip) -> Any:
        columns = clip.data.astype(np.float64).mean(axis=(1, 3))
        parts = np.array_split(columns, WIDTH // 2, axis=1)
        coarse = np.stack([part.mean(axis=1) for part in parts], axis=1).ravel() / 255 - 0.5
        vector = self._projection @ coarse[:WIDTH]
        return vector / np.linalg.norm(vector)

    def encode_queries(self, texts: Sequence[str]) -> Float32:
        """(Q, D) vectors that depend on the letters alone."""
        vectors = np.stack([_random(text).normal(size=WIDTH) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def match_probability(self, vectors: Float32, query: Float32) -> Float32:
        """(N,) rising with the cosine."""
        return (1 / (1 + np.exp(-8 * (vectors @ query)))).astype(np.float32)


class ConditionedModel(PictureModel):
    """A model whose context is the window's vector; conditioned text is mirrored in it.

    So the conditioned similarity is the negative of the unconditioned one: the order of any two
    windows is reversed.
    """

    conditions_text = True

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Rows with two context tokens."""
        encoded = super().encode(clips)
        return [replace(one, context=np.stack([one.vector, one.vector / 3])) for one in encoded]

    def conditioned_queries(self, texts: Sequence[str], context: Float16) -> Float32:
        """(N, Q, D) queries mirrored in the vectors of N windows."""
        assert context.dtype == np.float16
        axis = unit(context[:, 0].astype(np.float32))[:, None]
        queries = self.encode_queries(texts)[None]
        return queries - 2 * (queries * axis).sum(axis=2, keepdims=True) * axis


class NumberCaptioner(Captioner):
    """Writes the number of a file, and in which second a window begins."""

    name = fingerprint = "fake"

    @classmethod
    def from_spec(cls, argument: str) -> NumberCaptioner:
        """The captioner; it reads no argument."""
        return cls()

    @property
    def sampling(self) -> Sampling:
        """Two frames."""
        return Sampling(2)

    def caption(self, clips: Sequence[Clip]) -> list[Captions]:
        """Two sentences a clip."""
        words = ("no", "one", "two", "three", "four", "five", "six")
        return [
            (f"video {words[int(clip.path.stem) % 7]}", f"from second {clip.window.start_s:g}.")
            for clip in clips
        ]


def load_picture_model(device: str | None = None) -> PictureModel:
    """Model that worker processes load."""
    return PictureModel()


@dataclass
class AdapterMaterial:
    """An adapter, and clips of the sensor of its encoder.

    Attributes:
        name: Registered name.
        cls: Its class.
        encoder: What it is attached to.
        adapter: The adapter at its start.
        clips: Three clips that differ.
        folder: A folder for files.
    """

    name: str
    cls: type[Adapter]
    encoder: Encoder
    adapter: Adapter
    clips: list[Clip]
    folder: Path

    def vectors(self, clips: list[Clip], adapter: Adapter | None = None) -> Float32:
        """(n, D) vectors of clips."""
        return np.stack([row.vector for row in (adapter or self.adapter).encode(clips)])


def frozen_hash(encoder: Encoder) -> str:
    """Hash of the weights of an encoder's towers; its fingerprint where it has none of torch."""
    if isinstance(encoder, TorchEncoder):
        from vlar.encoders.clip.towers import weights_hash

        return weights_hash(encoder.towers.model)
    return encoder.fingerprint


class MemoryRows:
    """Rows in memory; each is the only window of a video of its own."""

    def __init__(self, vectors: Float32, first_id: int = 1) -> None:
        self.dim = vectors.shape[1]
        self.count = len(vectors)
        self.vectors: Float16 = vectors.astype(np.float16)
        self.ids: Int64 = first_id + 3 * np.arange(self.count)  # ids have gaps

    @property
    def table(self) -> RowTable:
        """Ids, videos and times of the rows."""
        times_s = self.ids.astype(np.float64)
        return RowTable(self.ids, self.ids, times_s, times_s)

    def chunks(self) -> Iterator[tuple[RowTable, Float16]]:
        """All rows at once."""
        yield self.table, self.vectors


def _random(text: str) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16))
