"""Found spans as one self-contained HTML page.

Pictures are inside the page, nothing is loaded from elsewhere, and no script runs. Everything that
others may have written (paths, tags) is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from vlar.answers.clock import clock
from vlar.answers.pictures import shown_s
from vlar.characters import without
from vlar.types import Failure, Hit
from vlar.video.thumbnails import jpeg

if TYPE_CHECKING:
    from PIL.Image import Image

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2330;--soft:#5c6675;--fill:#f3f5f8;
--link:#1d4ed8}
@media(prefers-color-scheme:dark){:root{--ground:#12161d;--ink:#e6e9ef;--soft:#a3adbb;
--fill:#1b212b;--link:#93c5fd}}
body{background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif;margin:2rem auto;
max-width:80rem;padding:0 1rem}
h1{font-size:1.3rem;overflow-wrap:anywhere}p{margin:.2rem 0}.soft{color:var(--soft)}
ol{list-style:none;padding:0;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}
li{background:var(--fill);border-radius:.5rem;padding:.6rem;overflow-wrap:anywhere}
img,.none{width:100%;border-radius:.3rem;aspect-ratio:16/9;object-fit:contain;display:block}
.none{display:grid;place-items:center;color:var(--soft)}a{color:var(--link)}
"""


def answers_page(query: str, hits: Sequence[Hit], shown: Sequence[Image | Failure]) -> str:
    """The page of a query.

    Args:
        query: As it was asked.
        hits: N found spans.
        shown: N pictures of them, or why there is none.
    """
    title = escape(without(query))
    count = "no match" if not hits else "1 match" if len(hits) == 1 else f"{len(hits)} matches"
    cards = "\n".join(_card(*each) for each in zip(hits, shown, strict=True))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        f'<h1>{title}</h1>\n<p class="soft">{count}</p>\n<ol>\n{cards}\n</ol>\n'
        "</main></body></html>\n"
    )


def _card(hit: Hit, picture: Image | Failure) -> str:
    times = f"{clock(hit.start_s)} to {clock(hit.end_s)}"
    tags = "".join(
        f'<p class="soft">{escape(without(key))}: {escape(without(value))}</p>'
        for key, value in sorted(hit.tags.items())
    )
    parts = "".join(
        f'<p class="soft">{escape(without(part.phrase))}: {part.probability:.0%}, '
        f"{clock(part.start_s)} to {clock(part.end_s)}</p>"
        for part in hit.parts
    )
    caption = f"<p>{escape(without(hit.caption))}</p>" if hit.caption else ""
    copies = f'<p class="soft">the same in {len(hit.also)} more</p>' if hit.also else ""
    name = escape(without(Path(hit.path).name))
    whom = "" if hit.track is None else f", person {hit.track}"
    head = f"<p><strong>{hit.rank}. {hit.score:.0%}</strong> {times}{whom}</p>"
    return (
        f"<li>{_picture(hit, picture)}{head}"
        f'<p><a href="{escape(_link(hit))}">{name}</a></p>{caption}{parts}{tags}{copies}</li>'
    )


def _picture(hit: Hit, picture: Image | Failure) -> str:
    if isinstance(picture, Failure):
        return '<span class="none">no picture</span>'
    data = base64.b64encode(jpeg(picture)).decode()
    alt = escape(f"{without(Path(hit.path).name)} at {clock(shown_s(hit))}")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{alt}">'


def _link(hit: Hit) -> str:
    """The address of the recording with its span (W3C media fragments)."""
    return f"{file_address(hit.path)}#t={hit.start_s:.2f},{hit.end_s:.2f}"


def file_address(path: str) -> str:
    """The ``file:`` address of a path; one that is not absolute stays a relative address."""
    place = Path(path)
    return place.as_uri() if place.is_absolute() else quote(path, errors="surrogatepass")
