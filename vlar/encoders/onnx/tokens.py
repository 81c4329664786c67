"""The tokeniser of an exported model: CLIP's, which open_clip ships, or a ``tokenizer.json``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlar.encoders.clip.tokens import ClipTokens, Tokens
from vlar.errors import ModelError
from vlar.types import JsonDict


class StoredTokens:
    """A fast tokeniser of transformers, run by the library ``tokenizers`` alone."""

    def __init__(self, tokenizer: Any, max_tokens: int, pad: int, *, lower: bool) -> None:
        """Wrap it.

        Args:
            tokenizer: A ``tokenizers.Tokenizer``.
            max_tokens: Of the text tower.
            pad: Id that fills up.
            lower: Whether texts are lower-cased first.
        """
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.max_tokens = max_tokens
        self._pad, self._lower = pad, lower

    def ids(self, texts: list[str], limit: int) -> Tensor:
        """(C, limit) int64, padded, cut to the limit."""
        self.tokenizer.enable_truncation(limit)
        rows = [row.ids for row in self.tokenizer.encode_batch([self._text(t) for t in texts])]
        self.tokenizer.no_truncation()
        return torch.tensor([row + [self._pad] * (limit - len(row)) for row in rows])

    def _text(self, text: str) -> str:
        return text.lower() if self._lower else text

    def count(self, text: str) -> int:
        """Tokens with the special ones."""
        return len(self._encoded(text))

    def _encoded(self, text: str) -> list[int]:
        self.tokenizer.no_truncation()
        return list(self.tokenizer.encode(self._text(text)).ids)

    def dropped(self, text: str, limit: int) -> str:
        """What lies behind the last token that is kept."""
        rest = self._encoded(text)[limit - 1 :]
        return str(self.tokenizer.decode(rest, skip_special_tokens=True)).strip()


def stored_tokens(settings: JsonDict, data: bytes | None, what: str) -> Tokens:
    """The tokeniser of a folder.

    Args:
        settings: ``tokens`` of the description.
        data: Content of ``tokenizer.json``, where there is one.
        what: Names the model in errors.

    Raises:
        ModelError: the file is not a tokeniser.
    """
    length = int(settings["max_tokens"])
    if data is None:
        import open_clip

        return ClipTokens(open_clip.SimpleTokenizer(context_length=length), length)
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises plain exceptions
        text = " ".join(str(error).split())[:160]
        raise ModelError(f"{what}: its tokenizer.json cannot be read ({text})") from error
    return StoredTokens(tokenizer, length, int(settings["pad"]), lower=bool(settings["lower"]))
