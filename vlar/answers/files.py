"""All the files that one query writes, checked before it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.answers import cuts, lists, page, sheet
from vlar.answers.pictures import pictures
from vlar.errors import UsageError, VlarError
from vlar.tables import HIT_COLUMNS, write_table
from vlar.types import Failure, Hit, JsonDict
from vlar.video import probe
from vlar.video.cut import Cut

if TYPE_CHECKING:
    from PIL.Image import Image


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
    """What to write of the answers to a query; None writes nothing of its kind.

    Attributes:
        cut: A folder for the found spans as files; it is made.
        exact: Whether spans are encoded again instead of copied from a key frame on.
        sheet: A picture of all pictures: ``.png``, ``.jpg`` or ``.webp``.
        html: A page.
        table: A table: ``.csv`` or ``.parquet``.
        edl: A CMX 3600 edit list.
        m3u: A play list.
    """

    cut: Path | None = None
    exact: bool = False
    sheet: Path | None = None
    html: Path | None = None
    table: Path | None = None
    edl: Path | None = None
    m3u: Path | None = None

    def check(self) -> None:
        """Refuse what could not be written, before the search.

        Raises:
            UsageError: a folder is missing, a file is a folder, or an ending is of another kind.
        """
        for file in (self.sheet, self.html, self.table, self.edl, self.m3u):
            if file is None:
                continue
            if file.is_dir() or not os.access(file.absolute().parent, os.W_OK | os.X_OK):
                raise UsageError(
                    f"{file}: cannot be written there; give a file in a folder that is"
                )
        if self.sheet is not None and self.sheet.suffix.lower() not in sheet.ENDINGS:
            raise UsageError(f"{self.sheet}: a sheet ends in {', '.join(sheet.ENDINGS)}; rename it")
        if self.exact and self.cut is None:
            raise UsageError("--exact is about cut files; give --cut FOLDER too")
        if self.cut is not None:
            try:
                self.cut.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = error.strerror or str(error)
                raise UsageError(
                    f"{self.cut}: cannot be made ({reason}); choose another"
                ) from error

    @property
    def needs_pictures(self) -> bool:
        """Whether pictures of the hits are needed."""
        return self.sheet is not None or self.html is not None

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
        if self.m3u is not None:
            yield _written(self.m3u, lists.m3u(hits), "play list")
        if self.edl is not None:
            fps = _rate(hits)
            yield _written(
                self.edl, lists.edl(query, hits, fps), f"edit list, {fps} frames a second"
            )
        if self.needs_pictures:
            yield from self._with_pictures(query, hits)
        if self.cut is not None:
            yield from cuts.cut_hits(hits, self.cut, self.exact)

    def _with_pictures(self, query: str, hits: Sequence[Hit]) -> Iterator[Written | Failure]:
        shown: list[Image | Failure] = []
        for picture in pictures(hits):
            shown.append(picture)
            if isinstance(picture, Failure):
                yield picture
        if self.html is not None:
            yield _written(self.html, page.answers_page(query, hits, shown), "page")
        if self.sheet is not None and hits:
            try:
                sheet.contact_sheet(hits, shown).save(self.sheet)
            except OSError as error:
                raise _unwritable(self.sheet, error) from error
            yield Written(self.sheet, "sheet")


def _written(file: Path, text: str, what: str) -> Written:
    try:
        file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise _unwritable(file, error) from error
    return Written(file, what)


def _unwritable(file: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{file}: cannot be written ({error.strerror or error}); choose another place"
    )


def _rate(hits: Sequence[Hit]) -> int:
    """The rate of an edit list: that of the first recording that can be read, else 25."""
    for hit in hits:
        try:
            return lists.nearest_fps(probe(hit.path).fps)
        except VlarError:
            continue
    return lists.nearest_fps(25.0)
