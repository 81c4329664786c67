"""No file that tests or pages use names a place that only one machine has."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("tests", "evals/results", "docs", "notebooks")
#: Where a machine keeps what is its own: homes, temporary files, mounts, checkouts.
FOREIGN = re.compile(
    r"(?<![\w.:/~}*-])(?:/(?:tmp|root|home|work|farm|mnt|media|srv|opt|Users|private|var/(?:tmp|folders))"
    r"(?:/[^\s\"'`<>|,;:)\\\x00-\x1f]+)+|[A-Z]:\\Users\\\w+)"
)
#: What every reader takes for an example.
EXAMPLE = re.compile(r"/home/(?:me?|you|vlar|\*)(?:/|\.|$)|/home/\*")
SQLITE, ZIP = b"SQLite format 3\x00", b"PK\x03\x04"


def texts(content: bytes) -> Iterator[str]:
    """Every text in a file: those of archives, of databases and of JSON as they are meant."""
    if content.startswith(ZIP):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name
                yield from texts(archive.read(name))
    elif content.startswith(SQLITE):
        yield from cells(content)
    else:
        text = content.decode("utf-8", "replace")
        yield text
        if "\\" in text:  # escapes may hide a path
            with contextlib.suppress(ValueError):
                yield from strings(json.loads(text))


def cells(content: bytes) -> Iterator[str]:
    """The texts of all tables of a database."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "copy.sqlite"
        file.write_bytes(content)
        connection = sqlite3.connect(file)
        connection.text_factory = lambda value: value.decode("utf-8", "replace")
        try:
            tables = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            ]
            for table in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    yield from (value for value in row if isinstance(value, str))
        finally:
            connection.close()


def strings(value: Any) -> Iterator[str]:
    """Keys and texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def foreign_paths(content: bytes) -> set[str]:
    """The absolute paths in a file that are no example."""
    return {
        match.group()
        for text in texts(content)
        for match in FOREIGN.finditer(text)
        if not EXAMPLE.match(match.group())
    }


def files() -> list[Path]:
    rows = [path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*")]
    rows = [path for path in rows if path.is_file() and path.suffix != ".pyc"]
    return sorted(path for path in rows if path != Path(__file__))


def test_no_file_names_a_place_of_one_machine():
    rows = {
        path.relative_to(CHECKOUT).as_posix(): foreign_paths(path.read_bytes()) for path in files()
    }
    assert len(rows) > 300
    assert {name: sorted(paths) for name, paths in rows.items() if paths} == {}


PLANTED = "/tmp/tmpq1w2e3/videos/0.mp4"


def packed(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def database(tmp_path: Path, text: str) -> bytes:
    connection = sqlite3.connect(tmp_path / "planted.sqlite")
    connection.execute("CREATE TABLE videos (path TEXT)")
    connection.execute("INSERT INTO videos VALUES (?)", (text,))
    connection.commit()
    connection.close()
    return (tmp_path / "planted.sqlite").read_bytes()


def test_a_planted_path_is_found_wherever_it_lies(tmp_path: Path):
    stored = database(tmp_path, PLANTED)
    escaped = json.dumps({"path": PLANTED}).replace("/", "\\/").encode()
    for content in (PLANTED.encode(), stored, packed("a.sqlite", stored), escaped):
        assert foreign_paths(content) == {PLANTED}
    assert foreign_paths(packed("b.zip", packed("a.json", escaped))) == {PLANTED}


@pytest.mark.parametrize(
    "text",
    ["/home/me/cooking", "docs/tmp/a", "https://a.org/home/x/y", "/videos/0.mp4", "/dev/null"],
)
def test_an_example_is_none(text: str):
    assert foreign_paths(text.encode()) == set()
