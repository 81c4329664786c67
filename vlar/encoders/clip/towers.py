"""The torch side of an encoder, the same whichever library built it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from vlar.encoders.clip.block_view import TextView, VisionView
from vlar.encoders.clip.pixels import Pixels
from vlar.encoders.lite.towers import MAX_TOKENS
from vlar.encoders.sentence_tower import count_word_pieces
from vlar.errors import ModelError

#: Errors of the libraries that read weights and settings, which name no remedy.
LOADING_ERRORS = (
    *(OSError, ValueError, RuntimeError, LookupError, ImportError, TypeError),
    *(AttributeError, EOFError, MemoryError),
)
NO_TOKEN = -1  # what stands behind the end of a text for towers that take a mask


class Tokens(Protocol):
    """Interface of a tokeniser. ``max_tokens`` counts the special tokens."""

    max_tokens: int

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64, padded, cut to the limit."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text before any cut."""
        ...

    def dropped(self, text: str, limit: int) -> str:
        """The end of a text that the limit cuts off, decoded."""
        ...


class ClipTokens:
    """CLIP's byte pair encoding, as open_clip ships it."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        """Wrap an ``open_clip.SimpleTokenizer``."""
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64; the last token of a cut text is the end-of-text token."""
        return self.tokenizer(texts, limit)

    def count(self, text: str) -> int:
        """Tokens with start and end."""
        return len(self.tokenizer.encode(text)) + 2

    def dropped(self, text: str, limit: int) -> str:
        """Text behind the last token that is kept."""
        return self.tokenizer.decode(self.tokenizer.encode(text)[limit - 2 :]).strip()


class OpenClipHfTokens:
    """A transformers tokeniser inside ``open_clip.HFTokenizer`` (SigLIP and others)."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        """Wrap it."""
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64."""
        return self.tokenizer(texts, limit)

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text)).input_ids)

    def count(self, text: str) -> int:
        """Tokens with the special ones."""
        return len(self._encoded(text))

    def dropped(self, text: str, limit: int) -> str:
        """Text behind the last token that is kept."""
        tail = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.tokenizer.decode(tail, skip_special_tokens=True)).strip()


class HfTokens:
    """A transformers tokeniser."""

    def __init__(
        self, tokenizer: Any, max_tokens: int, *, lower: bool = False, masked: bool = False
    ) -> None:
        """Wrap it.

        Args:
            tokenizer: From ``AutoTokenizer``.
            max_tokens: Most tokens of the text tower.
            lower: The model was trained on lower-cased text (SigLIP 2).
            masked: The text tower takes a mask: ids end in -1 instead of padding.
        """
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.lower = lower
        self.masked = masked

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64, padded to the limit as the towers were trained.

        For a tower with a mask (C, L + 1), where L is the length of the longest text.
        """
        texts = [text.lower() for text in texts] if self.lower else texts
        if self.masked:
            return self._unpadded(texts, limit)
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, max_length=limit)
        return torch.tensor(encoded.input_ids, dtype=torch.long)

    def _unpadded(self, texts: list[str], limit: int) -> Tensor:
        rows = self.tokenizer(texts, truncation=True, max_length=limit).input_ids
        rows = [row or [self.tokenizer.pad_token_id or 0] for row in rows]  # a text of no token
        ids = torch.full((len(rows), max(map(len, rows)) + 1), NO_TOKEN, dtype=torch.long)
        for target, row in zip(ids, rows, strict=True):
            target[: len(row)] = torch.tensor(row)
        return ids

    def _encoded(self, text: str) -> list[int]:
        return list(self.tokenizer(text.lower() if self.lower else text).input_ids)

    def count(self, text: str) -> int:
        """Tokens with the special ones."""
        return len(self._encoded(text))

    def dropped(self, text: str, limit: int) -> str:
        """Text behind the last token that is kept."""
        tail = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.decode(tail, skip_special_tokens=True)).strip()


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
        states_scale: Whether that is the model's own, not a usual one.
        vision_view: Gives the blocks of the image tower; raises ModelError where there are none.
        text_view: Gives the blocks of the text tower; raises ModelError where there are none.
        rebuild: The same face for another model of the same architecture.
        logit_bias: Logit bias of sigmoid models, else None.
        licence: Licence of the weights, as far as it is known.
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
    states_scale: bool = True
    licence: str = "unknown"
    variant: str = ""

    @property
    def device(self) -> torch.device:
        """Device of the model."""
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


class LiteTokeniser:
    """The tokeniser of the text encoder of ``lite``, for models without a text tower."""

    max_tokens = MAX_TOKENS

    def ids(self, texts: list[str], limit: int) -> NoReturn:
        """No tower of such a model reads ids."""
        raise ModelError(f"a model without a text tower reads no ids: {texts[:1]}, {limit} tokens")

    def count(self, text: str) -> int:
        """Word pieces with the two special tokens."""
        return count_word_pieces(text)

    def dropped(self, text: str, limit: int) -> str:
        """Words behind the limit, which are nearly all cut off."""
        return " ".join(text.split()[limit - 2 :])


def towers_without_text(
    model: nn.Module,
    image: Callable[[Tensor], Tensor],
    pixels: Pixels,
    *,
    dim: int,
    scale: float,
    licence: str,
    why: str,
) -> Towers:
    """The face of a model that reads pixels only.

    Args:
        model: Everything that is hashed and frozen.
        image: Pixels of clips (N, T, 3, height, width) to features.
        pixels: How frames become pixels.
        dim: Width of the features.
        scale: Factor from cosine to logit.
        licence: Licence of the weights.
        why: Beginning of the error of what asks for texts or blocks.
    """

    def refused(*_: object) -> NoReturn:
        raise ModelError(f"{why}: nothing inside it can be trained or adapted with words")

    return Towers(
        model=model,
        image=image,
        text=refused,
        tokens=LiteTokeniser(),
        pixels=pixels,
        dim=dim,
        log_scale=lambda: torch.tensor(math.log(scale)),
        vision_view=refused,
        text_view=refused,
        rebuild=refused,
        licence=licence,
    )


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
