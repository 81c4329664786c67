"""How many labels a list may have, and how long each may be."""

from __future__ import annotations

from collections.abc import Sequence

from vlar.errors import LabelError

#: Labels of a list, and characters of a label. Encoders read about 300 characters of a text.
MOST_LABELS, MOST_CHARACTERS = 100_000, 4_000


def check_sizes(labels: Sequence[str], source: str) -> None:
    """Refuse a list that is too long, and a label that is too long.

    Raises:
        LabelError: the message names the first.
    """
    if len(labels) > MOST_LABELS:
        raise LabelError(
            f"{source}: {len(labels):,} labels; at most {MOST_LABELS:,} are read: split the list"
        )
    for number, label in enumerate(labels, start=1):
        if len(label) > MOST_CHARACTERS:
            raise LabelError(
                f"{source}: label {number} ({label[:40]!r} ...) has {len(label):,} characters; at "
                f"most {MOST_CHARACTERS:,} are read, and encoders use the first 300: shorten it"
            )
