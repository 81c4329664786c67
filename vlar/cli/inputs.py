"""Reading what the user typed: paths, spans of time, ``key=value`` pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError

if TYPE_CHECKING:
    from vlar.types import Failure


def seconds(text: str, option: str) -> float:
    """A span of time in seconds: ``4``, ``4s``, ``500ms``, ``1.5m``.

    >>> seconds("500ms", "--every")
    0.5

    Raises:
        UsageError: not a positive span.
    """
    from vlar.text.duration import read_seconds

    value = read_seconds(text)
    if value is None or value <= 0:
        raise UsageError(f"{option} {text!r} is not a span of time; write for example 4s or 500ms")
    return value


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``key=value`` texts as a dict.

    >>> pairs(["place=gym", "day=3"], "--tag")
    {'place': 'gym', 'day': '3'}

    Raises:
        UsageError: a text has no ``=`` or no key, or a key comes twice with two values.
    """
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{option} {text!r} is not key=value; write for example place=gym")
        if result.setdefault(key, value) != value:
            raise UsageError(f"{option} gives {key!r} twice, {result[key]!r} and {value!r}")
    return result


def videos(paths: Sequence[str], modality: str | None = None) -> tuple[list[Path], list[Failure]]:
    """Files as given and the recordings inside folders; a folder without any is a failure.

    Args:
        paths: What the user typed.
        modality: The sensor whose recordings to look for; None for those of any reader.
    """
    from vlar.sensors import find
    from vlar.types import Failure

    found: list[Path] = []
    failures: list[Failure] = []
    for text in paths:
        inside = find([text], modality)
        found += inside
        if not inside:
            message = f"{text}: no video in this folder; give a folder that holds video files"
            failures.append(Failure(Path(text), "no_video", message))
    return found, failures
