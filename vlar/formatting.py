"""Words for people: times, shares, counts, paths and addresses, as every face prints them.

A ``pathlib.Path`` made of an address (``https://host/a.mp4``) loses one of its slashes; ``as_url``
gives it back.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote


def clock(seconds: float) -> str:
    """Seconds as ``h:mm:ss.d`` or ``m:ss.d``.

    >>> clock(3725.25), clock(4.0)
    ('1:02:05.2', '0:04.0')
    """
    tenths = int(seconds * 10 + 1e-6)
    minutes, remainder = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{remainder // 10:02d}.{remainder % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def lost_remark(share: float) -> str:
    """A remark where frames are missing or may be wrong; empty where none are."""
    return f"  ({percent(share)} of its frames are lost)" if share else ""


def percent(probability: float) -> str:
    """A probability for a sentence.

    >>> percent(0.634)
    '63 %'
    """
    return f"{100 * probability:.0f} %"


def counted(count: int, unit: str) -> str:
    """A number and its unit, which is given in the plural.

    >>> counted(1, "windows"), counted(0, "windows")
    ('1 window', '0 windows')
    """
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}"


def worded(value: object) -> str:
    """A value of JSON for a person: numbers with four digits, lists and objects as words.

    >>> worded(0.03998344845281405), worded(None), worded({"1 shots": 2}), worded([])
    ('0.03998', 'none', '1 shots 2', 'none')
    """
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    if isinstance(value, Mapping):
        rows = cast("Mapping[object, object]", value)
        return (
            ", ".join(f"{name} {worded(value_inside)}" for name, value_inside in rows.items())
            or "none"
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(worded(item) for item in cast("Sequence[object]", value)) or "none"
    return "none" if value is None else str(value)


_CATEGORIES = ("Cc", "Cs")
# They turn the order of what follows, so that "gpj.exe" reads as "exe.jpg".
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def acts(character: str) -> bool:
    """Return whether a character is a control character, a lone surrogate or turns the writing
    order.
    """
    return unicodedata.category(character) in _CATEGORIES or character in _TURNING


def fault(text: str) -> str | None:
    r"""Name of the first such character of a text; None for a sound text.

    >>> fault("run"), fault("\x1b[2Jrun")
    (None, "the control character '\\x1b'")
    """
    if text.isprintable():
        return None
    for character in text:
        if acts(character):
            lone = unicodedata.category(character) == "Cs"
            what = "the lone surrogate" if lone else "the control character"
            return f"{what} {character!a}"
    return None


def escaped(text: str) -> str:
    r"""The text with such characters as ``\x1b``; all others stay as they are.

    >>> escaped("a\x1b[2J b")
    'a\\x1b[2J b'
    """
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if acts(c) else c for c in text)


def without(text: str) -> str:
    r"""The text with a blank in the place of each such character.

    >>> without("run\x00fast")
    'run fast'
    """
    return text if text.isprintable() else "".join(" " if acts(c) else c for c in text)


_BOX = re.compile(r"(?<= s) @\d{1,3}(?:,\d{1,3}){3}(?=\): )")


def without_boxes(caption: str) -> str:
    """A caption without the places on screen of the words that it quotes.

    >>> without_boxes('shows (0.0-2.0 s @10,20,26,30): "EXIT"')
    'shows (0.0-2.0 s): "EXIT"'
    """
    return _BOX.sub("", caption)


# Categories of Unicode: control, format (directions of writing), half of a surrogate pair, ends of
# lines and paragraphs. Joiners are format characters too; emoji and Persian need them.
_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"


def plain(text: str) -> str:
    r"""A text without anything that a terminal obeys: control characters, line ends, directions.

    They are written as in Python: ``\x1b``, ``\n``, ``\u202e``. Letters of all languages, emoji and
    spaces stay.

    >>> plain("a\x1b[2J\u202eb")
    'a\\x1b[2J\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if is_harmless(letter)
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )


def is_harmless(letter: str) -> bool:
    """Return whether a terminal shows a character and does not obey it."""
    return unicodedata.category(letter) not in _OBEYED or letter in _JOINERS


# What fsspec opens, without the forms that a shell or a drive letter could mean.
SCHEMES = frozenset(
    {
        *("abfs", "abfss", "adl", "az", "dbfs", "file", "ftp", "gcs", "gs", "hdfs", "hf", "http"),
        *("https", "memory", "oci", "oss", "r2", "s3", "s3a", "sftp", "smb", "tar", "webhdfs"),
    }
)
"""Names of file systems that an address may begin with."""

_URL = re.compile(r"([a-z][a-z0-9]+):/+(.*)", re.DOTALL)
_CHAIN = "::"


def as_url(path: str | Path) -> str | None:
    """The address that a text or a path stands for; None where it is a path of this machine.

    >>> as_url(Path("s3://bucket/a.mp4")), as_url("clips/a.mp4")
    ('s3://bucket/a.mp4', None)
    >>> as_url(Path("tar://a.mp4::s3://bucket/0.tar"))
    'tar://a.mp4::s3://bucket/0.tar'
    """
    text = os.fspath(path)
    match = _URL.fullmatch(text)
    if match is None or match[1] not in SCHEMES:
        return None
    inner, chain, outer = match[2].partition(_CHAIN)
    if match[1] != "tar":
        return f"{match[1]}://{_absolute(match[1], match[2])}"
    return f"tar://{inner}{chain}{as_url(outer) or outer}"


def is_url(path: str | Path) -> bool:
    """Return whether a text or a path is an address."""
    return as_url(path) is not None


def shown(path: str | Path) -> str:
    """A path or an address as people write it."""
    return as_url(path) or os.fspath(path)


def _absolute(scheme: str, rest: str) -> str:
    return f"/{rest}" if scheme == "file" else rest


def file_address(path: str) -> str:
    """The ``file:`` address of a path; one that is not absolute stays a relative address."""
    file = Path(path)
    return file.as_uri() if file.is_absolute() else quote(path, errors="surrogatepass")


def opinion(facts: Mapping[str, Any]) -> str:
    """Opinion of another answerer, or the reason why it has none."""
    name = facts["answerer"]
    if facts.get("error"):
        return f"{name} has no opinion: {facts['error']}"
    best = facts["label"]
    share = f"{name} prefers {best}, {percent(facts['probability'][best])} of its options"
    return f"{share}, not surely enough to count" if facts.get("unsure") else share
