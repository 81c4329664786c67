"""Bags of texts: what may be said of a clip whose label is a guess, and some of it will fit.

A bag holds the descriptions and aliases that a dictionary of actions has for the guessed label, and
words from captions of the clip itself (MAXI, Lin et al., ICCV 2023).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlar.errors import LabelError
from vlar.safety.files import MB, read_file
from vlar.text.clean import clean_label
from vlar.text.description_lookup import descriptions_of
from vlar.text.labels import LabelList

Random = np.random.Generator
_NOT_OF_THE_LABEL = "contrast"  # this kind says what a label is not
_MOST_BYTES = 64 * MB


def expansions(dictionary: LabelList) -> list[tuple[str, ...]]:
    """What the banks say of each of C labels: descriptions and aliases, without contrasts.

    A label that no bank has gets nothing: its bag is then its name. ``vlar describe`` writes a bank
    for such labels, by a language model or from tables.

    Args:
        dictionary: The labels; entries of their own bank count as well as the packaged ones.
    """
    aliases = {entry.text: entry.aliases for entry in dictionary.entries}
    described = descriptions_of(dictionary.texts, dictionary.entries)
    rows: list[tuple[str, ...]] = []
    for text, kinds in zip(dictionary.texts, described, strict=True):
        found = [*aliases.get(text, ())]
        found += [t for kind, texts in kinds.items() if kind != _NOT_OF_THE_LABEL for t in texts]
        rows.append(without_label(text, found))
    return rows


def without_label(label: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words in order, each once, without those that read as the label itself."""
    own = clean_label(label).casefold()
    kept = (word.strip() for word in words)
    return tuple(dict.fromkeys(w for w in kept if w and clean_label(w).casefold() != own))


def draw_bag(words: Sequence[str], size: int, random: Random) -> list[str]:
    """Exactly ``size`` words of a bag: all of them as often as they go, then some without repeats.

    An empty bag gives empty words: the name of the label then stands alone.

    Args:
        words: The bag, without the name of the label.
        size: At least 1.
        random: Draws the remainder.
    """
    if not words:
        return [""] * size
    whole, rest = divmod(size, len(words))
    drawn = list(words) * whole
    drawn.extend(words[int(i)] for i in random.permutation(len(words))[:rest])
    return drawn


def bag_text(prompt: str, word: str) -> str:
    """A text of a bag: the label in its template, and the word.

    >>> bag_text("a photo of a clap.", "applaud")
    'a photo of a clap. applaud.'
    """
    end = prompt.rstrip().removesuffix(".")
    if not word:
        return prompt
    return f"{end}. {word.rstrip().removesuffix('.')}."


def read_captions(path: str | Path) -> dict[Path, list[str]]:
    """Captions of recordings: a CSV file with the columns ``path`` and ``caption``.

    A recording may have several rows. Relative paths start at the file.

    Raises:
        LabelError: the file cannot be read, or a column is missing.
    """
    file = Path(path).expanduser()
    try:
        text = read_file(file, _MOST_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except OSError as error:
        raise LabelError(f"{file}: captions cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{file}: not a CSV file of captions ({error})") from error
    found: dict[Path, list[str]] = {}
    for number, row in enumerate(rows, 2):
        if not row.get("path") or not row.get("caption"):
            raise LabelError(
                f"{file}: line {number} lacks a path or a caption; write the columns path,caption"
            )
        try:
            place = (file.absolute().parent / Path(row["path"]).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise LabelError(
                f"{file}: line {number} has the path {row['path'][:40]!r}, which cannot be one; "
                "write paths relative to the file"
            ) from error
        found.setdefault(place, []).append(row["caption"])
    if not found:
        raise LabelError(f"{file}: no caption in it; write the columns path,caption")
    return found
