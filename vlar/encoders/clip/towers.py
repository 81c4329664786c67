"""The torch side of an encoder, the same whichever library built it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlar.encoders.clip.block_view import TextView, VisionView
from vlar.encoders.clip.pixels import Pixels
from vlar.encoders.clip.tokens import Tokens


@dataclass(frozen=True)
class Towers:
    """A loaded model.

    Attributes:
        model: Everything that is hashed and frozen.
        image: Pixels (N, 3, height, width) to features (N, D), not normalised.
        text: Token ids (N, L) to features (N, D), not normalised.
        tokens: Texts to token ids.
        pixels: How frames become pixels.
        dim: D.
        log_scale: Gives the log of the factor from cosine to logit.
        vision_view: Gives the blocks of the image tower; raises ModelError where there are none.
        text_view: Gives the blocks of the text tower; raises ModelError where there are none.
        rebuild: The same face for another model of the same architecture.
        logit_bias: Of sigmoid models, else None.
        licence: Of the weights, as far as it is known.
        variant: What else makes the vectors differ from those of the weights, such as ``int8``.
    """

    model: nn.Module
    image: Callable[[Tensor], Tensor]
    text: Callable[[Tensor], Tensor]
    tokens: Tokens
    pixels: Pixels
    dim: int
    log_scale: Callable[[], Tensor]
    vision_view: Callable[[], VisionView]
    text_view: Callable[[], TextView]
    rebuild: Callable[[nn.Module], Towers]
    logit_bias: float | None = None
    licence: str = "unknown"
    variant: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and of the pixels they want."""
        return next(self.model.parameters()).dtype

    def fingerprint(self) -> str:
        """Hash of the weights, the pixels, the text limit and the variant."""
        settings: dict[str, Any] = {
            "pixels": self.pixels.to_dict(),
            "max_tokens": self.tokens.max_tokens,
        }
        if self.variant:
            settings["variant"] = self.variant
        return weights_hash(self.model, json.dumps(settings, sort_keys=True))


def weights_hash(model: nn.Module, settings: str = "") -> str:
    """Hash of every parameter and buffer of a model; 32 hexadecimal digits."""
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()


@contextmanager
def without_root_log() -> Generator[None]:
    """Silence the root logger, through which libraries advise on what was done on purpose."""
    root = logging.getLogger()
    before = root.disabled
    root.disabled = True
    try:
        yield
    finally:
        root.disabled = before


@contextmanager
def quiet_libraries() -> Generator[None]:
    """Keep transformers and sentence-transformers quiet while they load.

    They print progress bars and remarks on their own code, some of them to stdout.
    """
    from transformers.utils import logging as library

    bars, level = library.is_progress_bar_enabled(), library.get_verbosity()
    other = logging.getLogger("sentence_transformers")
    before = other.level
    library.disable_progress_bar()
    library.set_verbosity_error()
    other.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        other.setLevel(before)
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
