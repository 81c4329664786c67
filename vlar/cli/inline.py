"""Pictures inside the terminal: which protocol it has, and how a picture is written in it.

Sources: kitty graphics protocol (transmit and display, PNG, chunks of 4096 bytes); iTerm2 inline
images (OSC 1337); DEC sixel graphics (VT340).
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vlar.cli import output

if TYPE_CHECKING:
    from PIL.Image import Image

KITTY, ITERM, SIXEL = "kitty", "iterm2", "sixel"
WIDTH = 200  # pixels
_CHUNK = 4096
_COLOURS = 64
_ESC, _END = "\x1b", "\x1b\\"


def protocol(environment: Mapping[str, str] | None = None) -> str | None:
    """The protocol of a terminal that is sure to have one, by its environment; else None.

    >>> protocol({"TERM": "xterm-kitty"}), protocol({"TERM": "xterm-256color"})
    ('kitty', None)
    """
    known = os.environ if environment is None else environment
    term, program = known.get("TERM", ""), known.get("TERM_PROGRAM", "")
    if "TMUX" in known or term.startswith(("screen", "tmux")):
        return None  # it would have to pass them on
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return KITTY
    if program in ("iTerm.app", "WezTerm") or known.get("LC_TERMINAL") == "iTerm2":
        return ITERM
    if "sixel" in term or term.startswith(("foot", "mlterm")):
        return SIXEL
    return None


def wanted(asked: bool | None) -> str | None:
    """The protocol to use on stdout; None for no pictures.

    Args:
        asked: ``--inline`` or ``--no-inline``; None where neither was given.

    Raises:
        UsageError: asked for, and stdout is not a terminal that can.
    """
    from vlar.errors import UsageError

    if asked is False or (asked is None and not sys.stdout.isatty()):
        return None
    found = protocol() if sys.stdout.isatty() else None
    if asked and found is None:
        raise UsageError(
            "--inline: the output is not a terminal that is known to show pictures (kitty, "
            "Ghostty, iTerm2, WezTerm, foot, mlterm; not in tmux); use --sheet FILE.png or --html"
        )
    return found


def show(picture: Image, kind: str) -> None:
    """Print a picture on stdout and end the line."""
    output.terminal_picture("".join(encoded(picture, kind)))


def encoded(picture: Image, kind: str) -> Iterator[str]:
    """The characters that make a terminal show a picture."""
    if kind == SIXEL:
        yield from _sixel(picture)
        return
    data = io.BytesIO()
    picture.save(data, "PNG")
    text = base64.b64encode(data.getvalue()).decode()
    if kind == ITERM:
        yield f"{_ESC}]1337;File=inline=1;size={len(data.getvalue())}:{text}\a"
        return
    for start in range(0, len(text), _CHUNK):
        more = int(start + _CHUNK < len(text))
        head = f"a=T,f=100,q=2,m={more}" if start == 0 else f"m={more}"
        yield f"{_ESC}_G{head};{text[start : start + _CHUNK]}{_END}"


def _sixel(picture: Image) -> Iterator[str]:
    """Bands of six rows; in each band, each colour draws its own pixels."""
    small = picture.convert("RGB").quantize(_COLOURS)
    width, height = small.size
    palette = small.getpalette() or []
    pixels = small.tobytes()
    yield f'{_ESC}Pq"1;1;{width};{height}'
    for colour in range(len(palette) // 3):
        shares = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        yield f"#{colour};2;{';'.join(map(str, shares))}"
    for top in range(0, height, 6):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        for colour in sorted(set(b"".join(rows))):
            bits = (
                sum((row[x] == colour) << bit for bit, row in enumerate(rows)) for x in range(width)
            )
            yield f"#{colour}{_packed(bits)}$"
        yield "-"
    yield _END


def _packed(bits: Iterator[int]) -> str:
    """Sixels of one colour, equal ones in a row as a count."""
    text: list[str] = []
    last, count = -1, 0
    for value in (*bits, -1):
        if value == last:
            count += 1
            continue
        if count:
            letter = chr(63 + last)
            text.append(f"!{count}{letter}" if count > 3 else letter * count)
        last, count = value, 1
    return "".join(text)
