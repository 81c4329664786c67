"""The encoder contract over a torch model with an image and a text tower."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
from vlar.errors import UsageError
from vlar.numeric import unit
from vlar.types import Float32, UInt8

if TYPE_CHECKING:
    import torch

    from vlar.encoders.clip.towers import Towers

_log = logging.getLogger("vlar")
_TEXTS = 256  # texts at a time on an accelerator
_CPU_TEXTS = 8  # and on a CPU, always filled up
_GPU_FRAMES = 256  # frames at a time on an accelerator


class TorchEncoder(Encoder):
    """Frame-wise towers: window vector = mean of the raw frame features, scaled to length 1.

    On a CPU windows are encoded one by one, so the result of a window is bit for bit the same
    alone and in a batch; on an accelerator they are batched.

    Attributes:
        towers: The torch side: model, tokeniser, pixels, block views.
        logit_bias: Added to scaled cosines by sigmoid models (SigLIP), else None.
    """

    towers: Towers
    logit_bias: float | None
    templates = "video"

    def __init__(self, towers: Towers, name: str, *, n_frames: int = 8) -> None:
        """Take over loaded towers.

        Args:
            towers: From one of the loaders.
            name: The spec that loads this encoder again.
            n_frames: Default T.
        """
        self.towers = towers
        self.name = name
        self.n_frames = n_frames
        self.dim = self.frame_dim = towers.dim
        self.logit_scale = float(towers.log_scale().exp())
        self.logit_bias = towers.logit_bias
        self.max_tokens = towers.tokens.max_tokens
        pixels = towers.pixels
        fit = "squash" if pixels.fit == "squash" else "crop"
        self.preprocess = Preprocess(pixels.height, pixels.width, pixels.mean, pixels.std, fit)
        self.blocks = (Block("joint", self.dim, 1.0, has_text=True),)
        self.frame_blocks = (FrameBlock("appearance", self.dim, "appearance"),)
        self.licence = towers.licence
        self.fingerprint = towers.fingerprint()
        self._cut: set[str] = set()

    def twin(self) -> TorchEncoder:
        """The same encoder on a copy of its model, for methods that change the towers."""
        import copy

        towers = self.towers.rebuild(copy.deepcopy(self.towers.model))
        return TorchEncoder(towers, self.name, n_frames=self.n_frames)

    def encode_frames(self, frames: UInt8) -> Float32:
        """(N, T, H, W, 3) uint8 to (N, T, D) float32, not normalised."""
        import torch

        self.check_frames(frames)
        n, t = frames.shape[:2]
        if n * t == 0:
            return np.zeros((n, t, self.dim), np.float32)
        parts: list[Float32] = []
        with torch.inference_mode():
            for pixels in self.windows(frames):
                features = self.towers.image(pixels.flatten(0, 1)).float().cpu().numpy()
                parts.append(features.reshape(*pixels.shape[:2], -1))
        return np.concatenate(parts)

    def pool(self, features: Float32) -> Float32:
        """(N, T, D) to (N, D) float32 of unit length."""
        return unit(features.mean(axis=1, dtype=np.float32))

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Texts to (C, D) float32 of unit length; a text that is too long is cut and reported."""
        import torch

        vectors = np.zeros((len(texts), self.dim), np.float32)
        if texts:
            ids = self.token_ids(list(texts))
            with torch.inference_mode():
                for rows in self._text_batches(ids):
                    vectors[rows] = self.towers.text(ids[rows]).float().cpu().numpy()
        return unit(vectors)

    def _text_batches(self, ids: torch.Tensor) -> Iterator[list[int]]:
        """Rows of ids to encode together.

        Matrix products round by their shape. On a CPU every product therefore has the same shape
        whatever the company: texts of one length, always the same number, filled up by repeats.
        """
        if ids.device.type != "cpu":
            for start in range(0, len(ids), _TEXTS):
                yield list(range(start, min(start + _TEXTS, len(ids))))
            return
        by_length: dict[int, list[int]] = {}
        for row, length in enumerate((ids != ids[:, -1:]).int().sum(dim=1).tolist()):
            by_length.setdefault(length, []).append(row)
        for rows in by_length.values():
            for start in range(0, len(rows), _CPU_TEXTS):
                part = rows[start : start + _CPU_TEXTS]
                yield part + part[-1:] * (_CPU_TEXTS - len(part))

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special tokens included, before any cut."""
        return self.towers.tokens.count(text)

    def token_ids(self, texts: list[str], max_tokens: int | None = None) -> torch.Tensor:
        """Texts to ids (C, L) on the device of the model; cuts are reported once per text."""
        limit = self.max_tokens if max_tokens is None else min(max_tokens, self.max_tokens)
        ids = self.towers.tokens.ids(texts, limit)
        for text in texts:
            count = self.towers.tokens.count(text) if len(text.encode()) >= limit - 2 else 0
            if count > limit and text not in self._cut:
                self._cut.add(text)
                dropped = self.towers.tokens.dropped(text, limit)
                _log.warning(
                    "text cut: %r has %d tokens, %s reads %d; dropped: %r",
                    _short(text), count, self.name, limit, _short(dropped),
                )  # fmt: skip
        return ids.to(self.towers.device)

    def windows(self, frames: UInt8) -> Iterator[Any]:
        """Normalised pixels (n, T, 3, height, width) of a few windows at a time, on the device."""
        from vlar.encoders.clip.pixels import to_pixels

        n, t = frames.shape[:2]
        on_cpu = self.towers.device.type == "cpu"
        size = 1 if on_cpu else max(1, _GPU_FRAMES // t)
        for start in range(0, n, size):
            part = frames[start : start + size]
            flat = part.reshape(-1, *part.shape[2:])
            pixels = to_pixels(flat, self.towers.pixels, self.towers.device, self.towers.dtype)
            yield pixels.unflatten(0, part.shape[:2])

    def check_frames(self, frames: UInt8) -> None:
        """Refuse what is no batch of RGB windows.

        Raises:
            UsageError: wrong shape or type, or a number of frames the encoder cannot take.
        """
        shape = getattr(frames, "shape", None)
        if shape is None or len(shape) != 5 or shape[-1] != 3 or frames.dtype != np.uint8:
            raise UsageError(
                f"frames must be (N, T, H, W, 3) uint8, got {shape} "
                f"{getattr(frames, 'dtype', type(frames).__name__)}; one clip is clip.frames[None]"
            )
        if self.frames_fixed and shape[1] != self.n_frames:
            raise UsageError(
                f"{self.name} takes exactly {self.n_frames} frames per window, got {shape[1]}; "
                f"sample {self.n_frames}"
            )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"
