"""A multiple-choice question about a clip: K options with the letters A, B, C, ...

The form is that of LLaVAction (Ye et al., "LLaVAction: evaluating and training multi-modal large
language models for action recognition", 2025): options with letters, joined by commas, and an
answer of the form "letter. text".
"""

from __future__ import annotations

import base64
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vlar.errors import UsageError
from vlar.generators.chat import NoAnswerError
from vlar.media.video.frames import jpeg, narrowed
from vlar.types import Clip

if TYPE_CHECKING:
    from PIL.Image import Image

LETTERS = string.ascii_uppercase
MOST_OPTIONS = len(LETTERS)


@dataclass(frozen=True)
class Question:
    """Multiple-choice question about a clip: K options in the order in which they are shown.

    Attributes:
        options: K texts, 2 to 26, which differ in letters and digits.
        columns: (K,) column of each option in the label list it was taken from; empty without one.
        truth: Place of the right option; None where it is not known or not among them.
        injected: Whether the right option replaced one, because it was not among the best K.

    Raises:
        UsageError: too few or too many options, or two with the same text.
    """

    options: tuple[str, ...]
    columns: tuple[int, ...] = ()
    truth: int | None = None
    injected: bool = False

    def __post_init__(self) -> None:
        check_count(len(self.options))
        plain = [normalised(option) for option in self.options]
        if "" in plain:
            raise UsageError(f"option {plain.index('') + 1} has no word; give each option a text")
        if len(set(plain)) < len(plain):
            twice = next(o for n, o in enumerate(self.options) if plain[n] in plain[:n])
            raise UsageError(f"the option {twice!r} comes twice; give each text once")
        if self.columns and len(self.columns) != len(self.options):
            raise UsageError(f"{len(self.columns)} columns for {len(self.options)} options")
        if self.truth is not None and not 0 <= self.truth < len(self.options):
            raise UsageError(f"the right option is number {self.truth} of {len(self.options)}")

    def __len__(self) -> int:
        """K, the number of options."""
        return len(self.options)

    def rotated(self, shift: int) -> Question:
        """The same question with its options moved: place ``j`` shows option ``(j + shift) % K``.

        >>> moved = Question(("run", "walk", "jump"), truth=0).rotated(1)
        >>> moved.options, moved.truth
        (('walk', 'jump', 'run'), 2)
        """
        k = len(self.options)
        order = [(number + shift) % k for number in range(k)]
        return replace(
            self,
            options=tuple(self.options[n] for n in order),
            columns=tuple(self.columns[n] for n in order) if self.columns else (),
            truth=None if self.truth is None else order.index(self.truth),
        )

    @property
    def listing(self) -> str:
        """The options with their letters, in one line: ``A. run, B. walk``."""
        return ", ".join(f"{letter}. {option}" for letter, option in self.lettered())

    def lettered(self) -> Iterable[tuple[str, str]]:
        """Letter and text of each option."""
        return zip(LETTERS, self.options, strict=False)

    def text(self, *, n_pictures: int = 0, duration_s: float | None = None) -> str:
        """The question as a person or a language model reads it.

        Args:
            n_pictures: Pictures that are shown with it; 0 where the clip itself is shown.
            duration_s: Length of the clip in seconds; None leaves it out.
        """
        lasts = "" if duration_s is None else f" of {duration_s:.1f} seconds"
        shown = f"These are {n_pictures} pictures of one clip{lasts}, in the order of time. "
        return (
            f"{shown if n_pictures else ''}"
            f"What does the clip show? Choose exactly one option.\n{self.listing}\n"
            "Answer in one line: the letter, a full stop and the text of the option."
        )


def check_count(k: int) -> None:
    """Refuse a number of options that letters cannot name.

    Raises:
        UsageError: fewer than 2 or more than 26.
    """
    if not 2 <= k <= MOST_OPTIONS:
        raise UsageError(
            f"a question with {k} options cannot be asked: the letters A to Z name 2 to "
            f"{MOST_OPTIONS}; ask about fewer labels"
        )


def normalised(text: str) -> str:
    """A text by its letters and digits alone, for comparing.

    >>> normalised("  Open the Drawer!"), normalised("**open the drawer**")
    ('open the drawer', 'open the drawer')
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())


def distinct(texts: Iterable[str]) -> list[int]:
    """Places of the texts that differ from all earlier ones: equal options are one option.

    >>> distinct(["wave a hand", "Wave a hand!", "jump"])
    [0, 2]
    """
    plain_texts: set[str] = set()
    numbers: list[int] = []
    for index, text in enumerate(texts):
        plain = normalised(text)
        if plain and plain not in plain_texts:
            plain_texts.add(plain)
            numbers.append(index)
    return numbers


_LONGEST = 20_000  # characters that are read; a model that rambles ends with its answer
_LETTERED = re.compile(r"(?<![\w.])\(?([A-Z])\)?\s?[.):]\s*")
_ALONE = re.compile(r"\W*([A-Za-z])\W*")
_NAMED = re.compile(
    r"\b(?i:answer|option|choice|letter)\b(?:\s+(?:is|would be))?\s*[:=]?\s*\W{0,3}([A-Z])(?![\w'])"
)


def parse_answer(text: str, options: Sequence[str]) -> int | None:
    r"""The option that an answer means.

    Args:
        text: What was written, such as ``B. open drawer``, ``(B)`` or ``it opens a drawer``.
        options: K texts in the order in which they were shown with the letters A, B, C, ...

    Returns:
        Place of the option, 0 to K - 1; None where the answer means none of them clearly.

    >>> parse_answer("I think it is\nB. open drawer.", ["close drawer", "open drawer"])
    1
    >>> parse_answer("The drawer is closed.", ["close drawer", "open drawer"]) is None
    True
    """
    text = text.strip()[-_LONGEST:]
    if not text:
        return None
    plain = [normalised(option) for option in options]
    lettered = [
        (LETTERS.index(m[1]), normalised(text[m.end() :].partition("\n")[0]))
        for m in _LETTERED.finditer(text)
        if LETTERS.index(m[1]) < len(options)
    ]
    agreeing = [
        letter
        for letter, text_after in lettered
        if f"{text_after} ".startswith(f"{plain[letter]} ")
    ]
    if agreeing:
        return agreeing[-1]
    option = _letter_alone(text, len(options))
    if option is None:
        option = _equal(text, plain)
    if option is None and lettered:
        option = lettered[-1][0]
    if option is None:
        option = _mentioned(normalised(text), plain)
    return option


def _letter_alone(text: str, k: int) -> int | None:
    alone = _ALONE.fullmatch(text)
    letters = [alone[1].upper()] if alone else _NAMED.findall(text)
    places = [LETTERS.index(letter) for letter in letters]
    return places[-1] if places and places[-1] < k else None


def _equal(text: str, plain: Sequence[str]) -> int | None:
    whole = normalised(text)
    return plain.index(whole) if whole in plain else None


def _mentioned(text: str, plain: Sequence[str]) -> int | None:
    """The one option that the text holds; part of a longer option that it holds does not count."""
    padded = f" {text} "
    numbers = [number for number, option in enumerate(plain) if f" {option} " in padded]
    numbers = [
        number
        for number in numbers
        if not any(
            other != number and f" {plain[number]} " in f" {plain[other]} " for other in numbers
        )
    ]
    return numbers[0] if len(numbers) == 1 else None


N_PICTURES = 8
WIDTH = 512
_MOST_PICTURES = 64


def pictures(clip: Clip, n: int = N_PICTURES, width: int = WIDTH) -> list[Image]:
    """Take at most ``n`` frames of a clip, evenly spread, as RGB pictures of up to ``width``
    pixels.

    Raises:
        NoAnswerError: the clip holds no pictures.
    """
    data = np.asarray(clip.data)
    if data.ndim != 4 or data.shape[-1] != 3 or data.dtype != np.uint8 or not len(data):
        raise NoAnswerError(
            f"{clip.path}: an answerer that looks at pictures cannot read the sensor "
            f"{clip.modality!r}; use self:MODEL"
        )
    middle = (np.arange(n) + 0.5) * len(data) / n
    rows = np.unique(np.minimum(middle.astype(np.intp), len(data) - 1))
    return [narrowed(np.ascontiguousarray(data[row]), width) for row in rows]


def data_url(picture: Image) -> str:
    """A picture as a ``data:`` address, which holds the picture itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture)).decode('ascii')}"


def picture_count(text: str | None) -> int:
    """Number of pictures from an option ``frames=N``.

    Raises:
        UsageError: it is not 1 to 64.
    """
    if text is None:
        return N_PICTURES
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_PICTURES:
        raise UsageError(f"frames={text!r} cannot be used; give 1 to {_MOST_PICTURES} pictures")
    return int(text)
