"""``st:NAME`` and ``st:FOLDER``: embedders of sentence-transformers, for clips and texts.

vlar decodes and hands over frames with their times; chat templates, pooling (last token, mean) and
truncation stay with the library. A model with a video side encodes a clip as a whole, one with an
image side (CLIP) encodes frames one by one, and a text model is a text tower without clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.encoders.hub_source import Hub, pinned
from vlar.encoders.spec import number, rate_of, split_options
from vlar.encoders.text_batches import filled_batches, parts_of
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.registry import register
from vlar.types import Clip, Encoded, Float32, Role

if TYPE_CHECKING:
    from vlar.encoders.clip.st_loader import StModel

_OPTIONS = (
    *("clip_prompt", "device", "dim", "fps", "frames", "label_prompt", "precision"),
    *("query_prompt", "revision"),
)
_FRAMES = 32  # of a video model, at most where a rate is given
_IMAGES = 8  # frames of an image model
_GPU_TEXTS = 64  # at a time on an accelerator
_USUAL_SCALE = 50.0  # where a model states none; contrastive temperatures of 0.01 to 0.05 are usual
_SIDE = 384  # pixels of a model that takes any size


@register("encoder", "st")
class StEncoder(Encoder):
    """A SentenceTransformer: Qwen3-VL-Embedding, EmbeddingGemma 2, CLIP, MiniLM and their like.

    Attributes:
        sees: ``video``, ``image`` or ``text``: its input besides texts.
        prompts: The instruction for each role of text, and for a clip; empty for none.
    """

    libraries = ("sentence-transformers",)
    types: ClassVar[bool] = True
    contract_argument: ClassVar[str | None] = None  # nothing of it can be had offline
    templates = "video"

    def __init__(
        self,
        loaded: StModel,
        name: str,
        *,
        dim: int | None = None,
        fps: float | None = None,
        frames: int | None = None,
        prompts: dict[str, str] | None = None,
    ) -> None:
        """Take over a loaded model.

        Args:
            loaded: From ``vlar.encoders.clip.st_loader``.
            name: The spec that loads this encoder again.
            dim: Width to cut vectors to, for models trained for it (Matryoshka).
            fps: Frames a second of a video model; None for ``frames`` always.
            frames: T, or the largest T at ``fps``; None for the default.
            prompts: Instructions in the place of the model's own.
        """
        self.loaded, self.name, self.sees = loaded, name, loaded.sees
        self.prompts = {**loaded.prompts, **(prompts or {})}
        self.two_roles = self.prompts["query"] != self.prompts["label"] or loaded.has_routes
        if dim is not None and not 1 <= dim <= loaded.dim:
            raise UsageError(
                f"model option dim={dim} must be from 1 to {loaded.dim}, {name}'s width"
            )
        self.dim = self.frame_dim = dim or loaded.dim
        self.per_clip = self.sees == "video"
        self.n_frames = frames or (_FRAMES if self.per_clip else _IMAGES)
        self.fps, self.max_frames = fps, None if fps is None else self.n_frames
        self.states_scale = loaded.logit_scale is not None
        self.logit_scale, self.max_tokens = loaded.logit_scale or _USUAL_SCALE, loaded.max_tokens
        side = loaded.side or _SIDE
        self.preprocess = Preprocess(side, side, *loaded.scaling)
        self.blocks = (Block("joint", self.dim, 1.0, has_text=True),)
        kind = "clip" if self.per_clip else "appearance"
        self.frame_blocks = (FrameBlock(kind, self.dim, kind),)
        self.licence = loaded.licence
        told = [loaded.fingerprint, self.dim, fps, self.max_frames, sorted(self.prompts.items())]
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @classmethod
    def sources(cls, argument: str) -> list[Hub]:
        from vlar.encoders.clip.st_loader import source

        target, options = split_options(argument, _OPTIONS)
        is_path = Path(target).expanduser().exists()
        return [] if is_path else [source(target, options.get("revision"))]

    @classmethod
    def from_spec(
        cls, argument: str, *, device: str | None = None, dtype: str | None = None
    ) -> StEncoder:
        """Load a model.

        Args:
            argument: ``ORG/NAME`` on the hub, a name of the library's own (``all-MiniLM-L6-v2``),
                or a folder that ``SentenceTransformer.save`` wrote. Options follow a ``?``:
                ``dim=256`` cuts vectors (Matryoshka), ``frames=32`` is T, ``fps=1`` reads one
                frame a second and at most ``frames``, ``query_prompt``, ``label_prompt`` and
                ``clip_prompt`` replace the model's instructions, ``revision=COMMIT``,
                ``precision=float32|bfloat16|float16``, ``device=cpu|cuda``.
            device: Like the option; it wins over the option.
            dtype: Like the option ``precision``; it wins over the option.

        Raises:
            UnknownNameError: the hub has no such model, or an option does not exist.
            ModelError: it cannot be fetched, is not an embedder, or wants to run code.
            UsageError: an option is out of range.
        """
        from vlar.encoders.clip.options import read_spec
        from vlar.encoders.clip.st_loader import load

        target, options, name, loading = read_spec("st", argument, _OPTIONS, device, dtype)
        dim = number("dim", options["dim"], int) if "dim" in options else None
        fps, frames = rate_of(options)
        loaded = load(target, revision=options.get("revision"), **loading)
        if fps is not None and loaded.sees != "video":
            raise UsageError(f"{name} sees no video: leave the model option fps={fps:g} out")
        prompts = {
            role: options[f"{role}_prompt"]
            for role in ("query", "label", "clip")
            if f"{role}_prompt" in options
        }
        name = pinned(name, cls.sources(argument))
        return cls(loaded, name, dim=dim, fps=fps, frames=frames, prompts=prompts)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        """Clips to features, (1, D) of a video model or (T, D) of an image model, and vectors."""
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Clip) -> Encoded:
        if self.sees == "text":
            raise UsageError(
                f"{self.name} is a text model: it has no vectors for clips and serves as a text "
                "tower only; for clips use a model with a video or image side (vlar models)"
            )
        shape = tuple(getattr(clip.data, "shape", ()))
        right = len(shape) == 4 and shape[-1] == 3 and 0 not in shape
        if clip.modality != "video" or not right or clip.data.dtype != np.uint8:
            raise UsageError(
                f"{self.name} takes video clips (T, H, W, 3) uint8, got {clip.modality} {shape}"
            )
        if self.per_clip:
            times_s = np.asarray(clip.times_s, np.float64) - clip.window.start_s
            features = self.loaded.video(clip.data, times_s, self.prompts["clip"])
        else:
            features = self.loaded.images(clip.data, self.prompts["clip"])
        features = features[:, : self.dim]
        return Encoded(features, self.pool(features[None])[0])

    def pool(self, features: Float32) -> Float32:
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str], role: Role = "label") -> Float32:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        prompt = self.prompts[role]
        for rows in self._batches(texts):
            some = [texts[row] for row in rows]
            vectors[rows] = self.loaded.texts(some, prompt, role == "query")[:, : self.dim]
        return unit(vectors)

    def _batches(self, texts: Sequence[str]) -> list[list[int]]:
        if self.loaded.on_accelerator:
            return parts_of(range(len(texts)), _GPU_TEXTS)
        counts = map(self.loaded.count_tokens, texts)
        return filled_batches([min(count, self.max_tokens) for count in counts])

    def count_tokens(self, text: str) -> int:
        return self.loaded.count_tokens(text)
