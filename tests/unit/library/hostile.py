"""A small library, and what a stranger may have done to it."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.library.fakes import DIM, FakeModel
from vlar.errors import VlarError
from vlar.library import cache
from vlar.library.ingest.shard_reading import VectorVideo
from vlar.library.library import Library
from vlar.library.store import schema
from vlar.library.store.sqlite import SqliteStore
from vlar.types import Window

VIDEOS, WINDOWS = 4, 3
Attack = Callable[[Path], None]


def made(folder: Path, model: FakeModel | None = None, seed: int = 0) -> Path:
    """Four recordings of three windows each (rows 1 to 12), with tags and a fresh cache."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(VIDEOS, WINDOWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    spans = [Window(2.0 * place, 2.0 * place + 4) for place in range(WINDOWS)]
    videos = [
        VectorVideo(f"/v/{n}.mp4", spans, rows.astype(np.float32), tags={"place": f"p{n % 2}"})
        for n, rows in enumerate(vectors)
    ]
    with Library(folder, model or FakeModel()) as library:
        library.add_vectors(videos)
        library.query("a cat", min_probability=0)
    return folder


def cache_of(folder: Path) -> Path:
    """The search cache of a library; of one without a database, no file."""
    store = SqliteStore.open_to_read(folder) if (folder / schema.FILE_NAME).exists() else None
    if store is None:
        return folder / "absent"
    with closing(store):
        return cache.file_of(store)


def copied(original: Path, folder: Path) -> Path:
    """A copy of a library, and of its search cache, which a plain copy does not bring."""
    shutil.copytree(original, folder)
    shutil.copy(cache_of(original), cache_of(folder))
    return folder


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / schema.FILE_NAME, isolation_level=None)


def sql(*statements: str | tuple[str, Sequence[Any]]) -> Attack:
    """Run statements as SQLite allows anybody to."""

    def attack(folder: Path) -> None:
        with closing(database(folder)) as opened:
            opened.create_function("row_checksum", 3, row_checksum)
            for each in statements:
                text, values = (each, ()) if isinstance(each, str) else each
                opened.execute(text, values)

    return attack


def row_checksum(start_s: Any, end_s: Any, blob: Any) -> int:
    try:
        return schema.row_checksum(start_s, end_s, blob)
    except (TypeError, ValueError, struct.error):
        return 0


def meta(key: str, value: Any) -> Attack:
    return sql(("UPDATE meta SET value = ? WHERE key = ?", (value, key)))


def new_meta(key: str, value: Any) -> Attack:
    return sql(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value)))


def row(column: str, value: Any, row_id: int = 5) -> Attack:
    """Another value of a row, with the checksum that belongs to it."""
    return sql(
        (f"UPDATE rows SET {column} = ? WHERE id = ?", (value, row_id)),
        "UPDATE rows SET checksum = row_checksum(start_s, end_s, vector)",
    )


def unsealed(column: str, value: Any, row_id: int = 5) -> Attack:
    """Another value of a row, with the checksum of the old one."""
    return sql((f"UPDATE rows SET {column} = ? WHERE id = ?", (value, row_id)))


def person(track: Any, box: Any, row_id: int = 5) -> Attack:
    """A row as one of a person, with the checksum that belongs to it."""

    def attack(folder: Path) -> None:
        with closing(database(folder)) as opened:
            ((start_s, end_s, blob),) = opened.execute(
                "SELECT start_s, end_s, vector FROM rows WHERE id = ?", (row_id,)
            )
            try:
                covered = schema.person_bytes(track, box)
            except (TypeError, ValueError, struct.error):
                covered = b""
            sealed = schema.row_checksum(start_s, end_s, blob, covered)
            opened.execute(
                "UPDATE rows SET track = ?, box = ?, checksum = ? WHERE id = ?",
                (track, box, sealed, row_id),
            )

    return attack


def box(*sides: float) -> bytes:
    return struct.pack(f"<{len(sides)}f", *sides)


def video(column: str, value: Any, video_id: int = 2) -> Attack:
    return sql((f"UPDATE videos SET {column} = ? WHERE id = ?", (value, video_id)))


def vector(values: Any) -> bytes:
    return np.broadcast_to(np.asarray(values, "<f2"), (DIM,)).tobytes()


def one_large(value: float) -> bytes:
    return vector([value] + [0.0] * (DIM - 1))


def rewritten_schema(old: str, new: str, name: str) -> Attack:
    return sql(
        "PRAGMA writable_schema = ON",
        ("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name)),
    )


def without_cache(attack: Attack) -> Attack:
    """The attack, and no search cache."""

    def attacked(folder: Path) -> None:
        attack(folder)
        cache_of(folder).unlink()

    return attacked


def flipped_bit(folder: Path) -> None:
    """One bit of the exponent of a stored number, in the file itself: the vector grows to 600."""
    with closing(database(folder)) as opened:
        ((blob,),) = opened.execute("SELECT vector FROM rows WHERE id = 5").fetchall()
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    file = folder / schema.FILE_NAME
    content = bytearray(file.read_bytes())
    content[content.index(blob) + 1] ^= 0x40
    file.write_bytes(content)


# Files ------------------------------------------------------------------------------------------


def replaced(name: str, content: bytes | Callable[[bytes], bytes]) -> Attack:
    def attack(folder: Path) -> None:
        file = folder / name
        old = file.read_bytes() if file.exists() else b""
        file.write_bytes(content(old) if callable(content) else content)

    return attack


def fifo(name: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return attack


def a_folder(name: str) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return attack


def linked(name: str) -> Attack:
    """The file moved to another place, with a link to it."""

    def attack(folder: Path) -> None:
        elsewhere = folder.with_name("elsewhere")
        elsewhere.mkdir()
        if (folder / name).exists():
            shutil.move(folder / name, elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)

    return attack


def upgrade_stage_linked(folder: Path) -> None:
    victim = folder.with_name("victim")
    victim.mkdir()
    (victim / "letter.txt").write_text("kept")
    (folder / ".upgrade").symlink_to(victim)


# What a user may do ---------------------------------------------------------------------------


def _vector_video(number: int) -> VectorVideo:
    return VectorVideo(f"/new/{number}.mp4", [Window(0, 4)], one_row(number))


def one_row(number: int) -> Any:
    rows = np.random.default_rng(number).normal(size=(1, DIM))
    return (rows / np.linalg.norm(rows)).astype(np.float32)


VERBS: dict[str, Callable[[Library], Any]] = {
    "query": lambda library: library.query("a cat", 50, min_probability=0),
    "operators": lambda library: library.query('"a cat" AND NOT "a dog"', 50, min_probability=0),
    "sequence": lambda library: library.query('"a cat" THEN "a dog"', 50, min_probability=0),
    "tag": lambda library: library.query("a cat", where="place=p1", min_probability=0),
    "times": lambda library: library.query("a cat", where="start_s>=2", min_probability=0),
    "dates": lambda library: library.query("a cat", where="added>2020-01-01", min_probability=0),
    "number": lambda library: library.query("a cat", where="place>=2", min_probability=0),
    "path": lambda library: library.query("a cat", where="path!=/v/1.mp4", min_probability=0),
    "scope": lambda library: library.query('"a cat" IN "v/*"', min_probability=0),
    "nearest": lambda library: library.nearest(one_row(3)[0], 5),
    "nearest of a tag": lambda library: library.nearest(one_row(3)[0], 5, where="place=p0"),
    "list": lambda library: [json.dumps(each.to_dict()) for each in library.videos()],
    "info": lambda library: json.dumps(library.info().to_dict()),
    "verify": lambda library: library.verify(),
    "remove": lambda library: library.remove(["/v/3.mp4", "*nothing*"]),
    "import": lambda library: library.add_vectors([_vector_video(7)]),
    "upgrade": lambda library: library.upgrade(),
    "compact": lambda library: library.compact(),
    "query again": lambda library: library.query("a dog", 50, min_probability=0),
}


def used(folder: Path, verb: str, model: FakeModel | None = None) -> Any:
    """What a verb gives: its result, or an error of vlar, which must be one line."""
    try:
        with Library(folder, model or FakeModel(), create=False) as library:
            found = VERBS[verb](library)
    except VlarError as error:
        return require_one_line(error)
    if isinstance(found, list):
        for each in found:
            require_possible(each)
    return found


def require_one_line(error: VlarError) -> VlarError:
    assert len(error.message.splitlines()) == 1
    return error


def require_possible(hit: Any) -> None:
    """No score can be what a score cannot be."""
    for name, low in (("similarity", -1.0), ("probability", 0.0), ("score", 0.0)):
        value = getattr(hit, name, 0.0)
        assert low <= value <= 1.0, (name, value, hit)
    if hasattr(hit, "start_s"):
        assert 0 <= hit.start_s <= hit.end_s < math.inf, hit
        assert isinstance(getattr(hit, "path", ""), str), hit
    for part in (*getattr(hit, "parts", ()), *getattr(hit, "also", ())):
        require_possible(part)
