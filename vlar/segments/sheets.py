"""Zip archives of other programs, and the first sheet of a workbook (``.xlsx``) as a table."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator, Mapping, Sequence

from vlar.files.compressed import read_member
from vlar.files.reading import MB
from vlar.segments.tables import text_of
from vlar.segments.xml import parse

_MOST, _MOST_ENTRIES, _MOST_COLUMNS = 50 * MB, 1000, 1000


def names(data: bytes) -> list[str]:
    """Names of the files of an archive; none of other content."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return []


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of files by name; equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()


def entries(data: bytes) -> dict[str, bytes]:
    """Content of an archive by the names of its files.

    Raises:
        ValueError: it is damaged, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > _MOST_ENTRIES or sum(info.file_size for info in infos) > _MOST:
                raise ValueError(f"it unpacks to more than {_MOST // MB} MB")
            return {info.filename: read_member(archive, info) for info in infos}
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"its archive is damaged ({str(error)[:80]})") from None


def sheet(data: bytes) -> str:
    """The first sheet of a workbook, with tabs between the cells.

    Raises:
        ValueError: it is not a workbook.
    """
    files = entries(data)
    names = sorted(n for n in files if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", n))
    if not names:
        raise ValueError("it is not a workbook with a sheet")
    texts: list[str] = []
    if "xl/sharedStrings.xml" in files:
        shared = parse(files["xl/sharedStrings.xml"])
        texts = ["".join(item.itertext()) for item in _all(shared, "si")]
    return text_of(_rows(parse(files[min(names, key=len)]), texts), "\t")


def _rows(root: ET.Element, texts: Sequence[str]) -> Iterator[list[str]]:
    """Rows of cells of a sheet; their cells and characters are counted before they are joined."""
    size = 0
    for row in _all(root, "row"):
        cells: dict[int, str] = {}
        for cell in _all(row, "c"):
            name, value = cell.get("r", ""), "".join(cell.itertext())
            letters = re.match(r"[A-Z]{1,3}", name)
            column = _column(letters[0]) if letters else len(cells)
            if cell.get("t") == "s":
                if not value.isdecimal() or int(value) >= len(texts):
                    raise ValueError(f"cell {name!r} has the text {value[:20]!r} of {len(texts)}")
                value = texts[int(value)]
            cells[column] = value
            size += len(value)
        if max(cells, default=0) >= _MOST_COLUMNS:
            raise ValueError(f"its sheet has more than {_MOST_COLUMNS} columns")
        width = max(cells, default=-1) + 1
        size += width
        if size > _MOST:
            raise ValueError(f"its sheet has more than {_MOST // MB} MB of text")
        yield [cells.get(n, "") for n in range(width)]


def _all(root: ET.Element, name: str) -> Iterator[ET.Element]:
    """Elements of a name in any namespace."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
