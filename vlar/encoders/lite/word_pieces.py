"""Word pieces of BERT without upper case: texts to the numbers of their tokens.

Words are cut greedily into the longest pieces of the vocabulary (Devlin et al., "BERT", 2019; Wu et
al., "Google's neural machine translation system", 2016). Tests compare the numbers with those of
the library tokenizers, which takes 45 MB with what it needs. They differ in the marks and signs of
rare scripts that Unicode got after version 8: that library takes them for letters.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

_LONGEST = 100  # characters of a word; a longer one is unknown
_WORDS = 20_000  # whose pieces are kept
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """Numbers of the word pieces of a text, between those of the start and the end.

    Args:
        file: The ``tokenizer.json`` of a BERT without upper case.
    """

    def __init__(self, file: Path) -> None:
        content = json.loads(file.read_text("utf-8"))
        self._numbers: dict[str, int] = content["model"]["vocab"]
        self._special = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
        self._split = re.compile("(" + "|".join(map(re.escape, self._special)) + ")")
        self._pieces = lru_cache(_WORDS)(self._cut)

    def __call__(self, text: str) -> list[int]:
        """Numbers of a text, with the special tokens that it names itself."""
        ids = [self._special["[CLS]"]]
        for part in self._split.split(text):
            if part in self._special:
                ids.append(self._special[part])
                continue
            for word in _words(part):
                ids += self._pieces(word)
        return [*ids, self._special["[SEP]"]]

    def _cut(self, word: str) -> list[int]:
        pieces: list[int] = []
        begin = 0
        while begin < len(word) <= _LONGEST:
            for end in range(len(word), begin, -1):
                number = self._numbers.get(("##" if begin else "") + word[begin:end])
                if number is not None:
                    break
            else:
                return [self._special["[UNK]"]]
            pieces.append(number)
            begin = end
        return pieces or [self._special["[UNK]"]]


def _words(text: str) -> list[str]:
    clean = "".join(map(_cleaned, text))
    plain = "".join(
        c for c in unicodedata.normalize("NFD", clean) if unicodedata.category(c) != "Mn"
    )
    small = "".join(c.lower() for c in plain)  # one by one: a last sigma is as the others
    return "".join(f" {c} " if _is_mark(c) else c for c in small).split()


@lru_cache(4096)
def _cleaned(c: str) -> str:
    if c in "\t\n\r":
        return " "
    if c in "\0\ufffd" or unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if c.isspace():
        return " "
    return f" {c} " if any(first <= ord(c) <= last for first, last in _IDEOGRAPHS) else c


@lru_cache(4096)
def _is_mark(c: str) -> bool:
    ascii_mark = c.isascii() and not c.isalnum() and c.isprintable() and c != " "
    return ascii_mark or unicodedata.category(c).startswith("P")
