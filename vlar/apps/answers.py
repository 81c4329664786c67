"""All the files that one query writes, checked before it runs."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.errors import UsageError, VlarError, explained
from vlar.files.workers.pool import WorkerPool, can_isolate, is_batch
from vlar.files.workers.process import FileLimits, WorkerStartError
from vlar.formatting import clock, file_address, without, without_boxes
from vlar.media.lookup import isolated, reader
from vlar.media.video.cut import Cut, cut
from vlar.media.video.frames import WIDTH, jpeg, narrowed
from vlar.media.video.source import probe
from vlar.results import HIT_COLUMNS, write_table
from vlar.types import Failure, Hit, JsonDict, Sampling, Window

if TYPE_CHECKING:
    from PIL.Image import Image

_DARK, _LIGHT = "#000000", "#ffd21f"


def pictures(hits: Sequence[Hit], width: int = WIDTH) -> Iterator[Image | Failure]:
    """A picture of each hit, at most ``width`` pixels wide, decoded in worker processes.

    Yields:
        In the order of the hits, a picture or why there is none; a recording that has moved ends
        nothing.
    """
    present = [hit for hit in hits if Path(hit.path).exists()]
    with isolated(reader("video"), present, lambda hit: Path(hit.path)) as (source, items):
        moments = ((Path(hit.path), Window(shown_s(hit), shown_s(hit))) for hit in items)
        read = source.read(moments, Sampling(1, shorter_side=width))
        for hit in hits:
            if hit not in present:
                yield moved(hit)
                continue
            clip = next(read)
            yield clip if isinstance(clip, Failure) else _drawn(narrowed(clip.data[0], width), hit)


def shown_s(hit: Hit) -> float:
    """The moment of the picture, in seconds."""
    for at_s in (hit.box_s, hit.best_s):
        if at_s is not None:
            return at_s
    best = max(hit.parts, key=lambda part: part.probability) if hit.parts else hit
    return (best.start_s + best.end_s) / 2


def _drawn(picture: Image, hit: Hit) -> Image:
    """The picture with the box of its person, light on dark, so that it shows on any ground."""
    if hit.box is None:
        return picture
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    sides = (picture.width, picture.height, picture.width, picture.height)
    corners = [share * (side - 1) for share, side in zip(hit.box, sides, strict=True)]
    thick = max(2, round(picture.width / 160))
    draw.rectangle(corners, outline=_DARK, width=thick + 2)
    inner = [corners[0] + 1, corners[1] + 1, corners[2] - 1, corners[3] - 1]
    if inner[0] < inner[2] and inner[1] < inner[3]:
        draw.rectangle(inner, outline=_LIGHT, width=thick)
    return picture


def moved(hit: Hit) -> Failure:
    """Failure of a hit whose recording is not at its path in the library."""
    message = (
        f"{hit.path}: the recording is not there any more; add it where it is now with 'vlar index "
        "add', which recognises it"
    )
    return Failure(Path(hit.path), "moved", message)


_LONGEST_NAME = 60  # characters of a recording's name in the name of its cut


def cut_hits(hits: Sequence[Hit], folder: Path) -> Iterator[Cut | Failure]:
    """Cut each hit into a file of a folder (``file_name``), in worker processes.

    Yields:
        In the order of the hits, the file or why there is none.
    """
    limits = FileLimits.from_environment()
    with ExitStack() as stack:
        pool: WorkerPool | None = None
        if limits.workers and can_isolate(cut) and is_batch([Path(hit.path) for hit in hits[:2]]):
            pool = stack.enter_context(WorkerPool(limits, module=cut.__module__))
        for hit in hits:
            yield _one(hit, folder, pool, limits)


def file_name(hit: Hit) -> str:
    """Rank, recording and times: ``03_clip_0m12.0s-0m16.5s.mp4``.

    Letters of all alphabets, digits, dots, ``_`` and ``-`` stay; all other characters become ``_``.
    """
    stem = unicodedata.normalize("NFC", Path(hit.path).stem)[:_LONGEST_NAME]
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in stem)
    span = f"{_clock(hit.start_s)}-{_clock(hit.end_s)}"
    return f"{hit.rank:02d}_{safe}_{span}.mp4"


def _one(hit: Hit, folder: Path, pool: WorkerPool | None, limits: FileLimits) -> Cut | Failure:
    path = Path(hit.path)
    if not path.exists():
        return moved(hit)
    job = path, hit.start_s, hit.end_s, folder / file_name(hit)
    try:
        if pool is not None:
            try:
                return pool.call(path, hit.end_s, cut, *job)
            except WorkerStartError:
                pass  # it is cut in this process instead
        return cut(*job, timeout_s=limits.timeout_s)
    except VlarError as error:
        return Failure(path, error.kind, error.message)


def _clock(seconds: float) -> str:
    tenths = int(seconds * 10 + 1e-6)
    minutes, remainder = divmod(tenths, 600)
    return f"{minutes}m{remainder // 10:02d}.{remainder % 10}s"


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_name("answers.css").read_text(encoding="utf-8")


def answers_page(query: str, hits: Sequence[Hit], shown: Sequence[Image | Failure]) -> str:
    """The page of a query."""
    title = escape(without(query))
    count = "no match" if not hits else "1 match" if len(hits) == 1 else f"{len(hits)} matches"
    cards = "\n".join(_card(*pair) for pair in zip(hits, shown, strict=True))
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
    caption = f"<p>{escape(without(without_boxes(hit.caption)))}</p>" if hit.caption else ""
    copies = f'<p class="soft">the same in {len(hit.also)} more</p>' if hit.also else ""
    name = escape(without(Path(hit.path).name))
    whom = "" if hit.track is None else f", person {hit.track}"
    head = f"<p><strong>{hit.rank}.{_alone(hit)}</strong> {times}{whom}</p>"
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


FPS = (24, 25, 30, 50, 60)


def nearest_fps(fps: float) -> int:
    """The rate of an edit list that is nearest to that of a recording.

    >>> nearest_fps(29.97)
    30
    """
    return min(FPS, key=lambda each: abs(each - fps))


def _alone(hit: Hit) -> str:
    """The probability of a plain hit; with operators each phrase has its own, in another place."""
    return "" if hit.parts else f" {hit.probability:.0%}"


@dataclass(frozen=True)
class Written:
    """A file that was written, and what it holds."""

    path: Path
    what: str

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return {"written": str(self.path), "what": self.what}


@dataclass(frozen=True)
class AnswerFiles:
    """Outputs of the answers to a query; None writes nothing of its kind.

    Attributes:
        cut: Folder for each found span as a file of its own.
        html: A page with pictures inside.
        table: A table: .csv or .parquet.
    """

    cut: Path | None = None
    html: Path | None = None
    table: Path | None = None

    def check(self) -> None:
        """Refuse what could not be written, before the search.

        Raises:
            UsageError: a folder is missing, or a file is a folder.
        """
        for file in filter(None, (self.html, self.table)):
            if file.is_dir() or not os.access(file.absolute().parent, os.W_OK | os.X_OK):
                raise UsageError(
                    f"{file}: cannot be written there; give a file in a folder that is"
                )
        if self.cut is not None:
            with explained(UsageError, f"{self.cut}: cannot be made", "choose another"):
                self.cut.mkdir(parents=True, exist_ok=True)

    def write(self, query: str, hits: Sequence[Hit]) -> Iterator[Written | Cut | Failure]:
        """Write the files.

        Yields:
            Each file, and once a failure for each recording that gives no cut or no picture.

        Raises:
            UsageError: a file cannot be written.
        """
        named: set[str] = set()
        for item in self._write(query, hits):
            if isinstance(item, Failure):
                if item.message in named:
                    continue
                named.add(item.message)
            yield item

    def _write(self, query: str, hits: Sequence[Hit]) -> Iterator[Written | Cut | Failure]:
        if self.table is not None:
            write_table(self.table, hits, HIT_COLUMNS)
            yield Written(self.table, "table")
        if self.html is not None:
            shown = list(pictures(hits))
            yield from (picture for picture in shown if isinstance(picture, Failure))
            with explained(UsageError, f"{self.html}: cannot be written", "choose another place"):
                self.html.write_text(answers_page(query, hits, shown), "utf-8", "replace")
            yield Written(self.html, "page")
        if self.cut is not None:
            yield from cut_hits(hits, self.cut)


def rate_of(paths: Iterable[str]) -> int:
    """The rate of an edit list: that of the first recording that can be read, else 25."""
    for path in paths:
        try:
            return nearest_fps(probe(path).fps)
        except VlarError:
            continue
    return nearest_fps(25.0)
