"""Texts to token ids, and what a limit cuts off."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

NO_TOKEN = -1  # what stands behind the end of a text for towers that take a mask


class Tokens(Protocol):
    """What every tokeniser offers. ``max_tokens`` counts the special tokens."""

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
        """What lies behind the last token that is kept."""
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
        """What lies behind the last token that is kept."""
        rest = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.tokenizer.decode(rest, skip_special_tokens=True)).strip()


class HfTokens:
    """A transformers tokeniser."""

    def __init__(
        self, tokenizer: Any, max_tokens: int, *, lower: bool = False, masked: bool = False
    ) -> None:
        """Wrap it.

        Args:
            tokenizer: From ``AutoTokenizer``.
            max_tokens: Of the text tower.
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
        """What lies behind the last token that is kept."""
        rest = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.decode(rest, skip_special_tokens=True)).strip()
