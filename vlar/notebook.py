"""Answers in notebooks: HTML with pictures, and progress. Everything is escaped."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vlar.formatting import plain

MOST_ROWS, MOST_PICTURES = 100, 12
_WIDTH = 160  # of pictures, in pixels
_PICTURE = "max-height:90px;border-radius:4px;margin-right:8px"
_CARD = "display:flex;align-items:flex-start;margin:4px 0"


class Pictures:
    """Source of pictures: a path, seconds and pixels to a JPEG.

    ``vlar.media.video.frames``, which this file must not import, sets it.
    """

    of: Callable[[str | Path, float, int], bytes] | None = None


def picture(path: str | Path, at_s: float) -> str:
    """The picture of a moment as an ``img`` element; empty where there is none."""
    try:
        data = Pictures.of(path, at_s, _WIDTH) if Pictures.of and Path(path).exists() else b""
    except Exception:  # noqa: BLE001 - an answer is shown whatever its recording is
        data = b""
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
    return f'<img alt="" style="{_PICTURE}" src="{source}">' if data else ""


def card(
    path: str | Path | None, at_s: float, lines: Sequence[str], bars: Mapping[str, float]
) -> str:
    """A picture, the first line in bold, the other lines, and a bar for each label."""
    first, *further = (escape(plain(line.strip())) for line in lines)
    shown = "".join(f"<div>{line}</div>" for line in further)
    drawn = "".join(
        f'<div><meter min="0" max="1" value="{value:.4f}"></meter> {value:6.1%} '
        f"{escape(plain(label))}</div>"
        for label, value in bars.items()
    )
    image = "" if path is None else picture(path, at_s)
    return f'<div style="{_CARD}">{image}<div><div><b>{first}</b></div>{shown}{drawn}</div></div>'


def cards(rows: Sequence[Any]) -> str:
    """Rows below each other: cards of the first, a table of the others, at most 100 in all."""
    parts = [row._repr_html_() for row in rows[:MOST_PICTURES]]
    further = rows[MOST_PICTURES:MOST_ROWS]
    parts += [f"<div>{escape(str(row).splitlines()[0])}</div>" for row in further]
    if len(rows) > MOST_ROWS:
        parts.append(f"<div>and {len(rows) - MOST_ROWS} more</div>")
    return f"<div>{''.join(parts) or '(no results)'}</div>"


def bar(what: str) -> Bar | None:
    """A bar below the cell of a notebook; None in any other process."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return None if getattr(shell, "kernel", None) is None else Bar(what)


class Bar:
    """A bar below the cell, moved by the units that are done; a ``ProgressCallback``."""

    def __init__(self, what: str) -> None:
        from IPython.display import HTML, display

        self._what, self._html = what, HTML
        self._done, self._total = 0, None
        self._shown: Any = display(HTML(self._text()), display_id=True)

    def __call__(self, count: int = 0, total: int | None = None) -> None:
        """Count units, and correct their total."""
        self._done += count
        self._total = self._total if total is None else total
        self._shown.update(self._html(self._text()))

    def _text(self) -> str:
        of = "" if self._total is None else f" of {self._total}"
        value = "" if self._total is None else f' max="{max(self._total, 1)}" value="{self._done}"'
        return f"<progress{value}></progress> {escape(self._what)}: {self._done}{of}"
