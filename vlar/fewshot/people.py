"""Examples of one person, by the names of their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def by_person(
    examples: Sequence[tuple[Path, str]], person: Callable[[Path], str | None]
) -> list[str]:
    """The group of each example: its person, where all names tell it and no group was given.

    A person resembles themselves, so examples of one person that are held out alone tell little
    about other people.

    Args:
        examples: Path and group of each example; the path as text where no group was given.
        person: Who was recorded in a file (``vlar.sensors.base.Reader.person``).
    """
    groups = [group for _, group in examples]
    if any(group != str(path) for path, group in examples):
        return groups
    people = [who for path, _ in examples if (who := person(path)) is not None]
    return people if len(people) == len(groups) and len(set(people)) > 1 else groups
