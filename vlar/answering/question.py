"""A multiple-choice question about a clip: K options with the letters A, B, C, ...

The form is that of LLaVAction (Ye et al., "LLaVAction: evaluating and training multi-modal large
language models for action recognition", 2025): options with letters, joined by commas, and an
answer of the form "letter. text".
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vlar.errors import UsageError

LETTERS = string.ascii_uppercase
MOST_OPTIONS = len(LETTERS)
#: The option that stands for ``unknown``.
NONE = "none of these"
#: Whose eyes a clip is seen with, and the sentence that says so.
PERSPECTIVES = {
    None: "",
    "first": "The camera is worn by the person who acts. ",
    "third": "The camera watches the person who acts. ",
}


@dataclass(frozen=True)
class Question:
    """What does the clip show? K options in the order in which they are shown.

    Attributes:
        options: K texts, 2 to 26, which differ in letters and digits.
        columns: (K,) column of each option in the label list it was taken from; empty without one.
        truth: Place of the right option; None where it is not known or not among them.
        injected: Whether the right option replaced one, because it was not among the best K.
        perspective: ``first`` or ``third`` person, or None to leave it open.

    Raises:
        UsageError: too few or too many options, or two with the same text.
    """

    options: tuple[str, ...]
    columns: tuple[int, ...] = ()
    truth: int | None = None
    injected: bool = False
    perspective: str | None = None

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
        if self.perspective not in PERSPECTIVES:
            raise UsageError(f"perspective {self.perspective!r} is unknown; use first or third")

    def __len__(self) -> int:
        """K."""
        return len(self.options)

    def rotated(self, shift: int) -> Question:
        """The same question with its options moved: place ``j`` shows option ``(j + shift) % K``.

        >>> moved = Question(("run", "walk", "jump"), truth=0).rotated(1)
        >>> moved.options, moved.truth
        (('walk', 'jump', 'run'), 2)
        """
        k = len(self.options)
        order = [(place + shift) % k for place in range(k)]
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
            f"{shown if n_pictures else ''}{PERSPECTIVES[self.perspective]}"
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
    seen: set[str] = set()
    kept: list[int] = []
    for place, text in enumerate(texts):
        plain = normalised(text)
        if plain and plain not in seen:
            seen.add(plain)
            kept.append(place)
    return kept


def is_none(option: str) -> bool:
    """Whether an option says that no other one is right.

    >>> is_none("None of these."), is_none("run")
    (True, False)
    """
    return normalised(option) == NONE
