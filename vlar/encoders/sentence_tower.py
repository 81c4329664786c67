"""Sentence vectors for comparing texts with texts: those of the text encoder of ``lite``.

They are not in the space of videos. Code that asks which texts mean nearly the same uses these
functions and does not depend on the encoder that provides them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vlar.types import Float32

if TYPE_CHECKING:
    from vlar.encoders.lite.towers import TextTower

SENTENCE_WIDTH = 384
EmbedTexts = Callable[[Sequence[str]], Float32]


def sentence_vectors(texts: Sequence[str]) -> Float32:
    """(C, S) float32 unit vectors of C texts; near in meaning is near in cosine.

    Raises:
        ModelError: the weights are missing or changed.
    """
    return _tower()(texts)


def load_text_tower(spec: str | None = None, device: str | None = None) -> EmbedTexts:
    """A text model alone, for encoders of other sensors and for captions.

    Args:
        spec: Any encoder, or a text model such as ``st:all-MiniLM-L6-v2``; None for the text
            encoder of ``lite``.
        device: As for ``load_encoder``.

    Returns:
        Maps C texts to (C, S) float32 of unit length.

    Raises:
        ModelError: it cannot be loaded.
    """
    if spec is None:
        return sentence_vectors
    from vlar.encoders.base import load_encoder

    return load_encoder(spec, device).encode_text


def count_word_pieces(text: str) -> int:
    """Tokens of a text with the two special ones, before any cut."""
    return _tower().count_tokens(text)


def tower_hash() -> str:
    """Hash of the weights and the tokeniser of the text encoder."""
    from vlar.encoders.lite import towers

    return towers.MINILM.sha256 + towers.TOKENIZER.sha256


def cached_sentence_vectors(texts: Sequence[str], what: str) -> Float32:
    """``sentence_vectors`` of a fixed list of texts, kept in the cache folder.

    Args:
        texts: C texts; their hash is the cache key.
        what: Name of the list in the log line that explains the wait.
    """
    from vlar.encoders.lite.towers import CACHE_FOLDER
    from vlar.files.resources import cached

    key = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]

    def make() -> bytes:
        return sentence_vectors(texts).tobytes()

    content = cached(CACHE_FOLDER, f"labels-{key}.bin", make, what)
    return np.frombuffer(content, np.float32).reshape(len(texts), -1)


def text_tower() -> TextTower:
    """The packaged text encoder, loaded once.

    Raises:
        ModelError: its weights are missing or changed.
    """
    return _tower()


@cache
def _tower() -> TextTower:
    from vlar.encoders.lite.towers import TextTower

    return TextTower()
